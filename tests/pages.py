"""Made-up benchmark rows for report tests, and how a browser sees a page."""

import html
import json
import random
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from sepme.bench.report import Report
from sepme.bench.timeline import ROLES, states
from sepme.metrics import wilson

ENVIRONMENT = {
    "benchmark": "scenes",
    "options": {"method": "sepme", "domain": "styles", "scenes": [1, 3], "least": 50},
    "base": "sha256:" + "0123456789abcdef" * 4,
    "detector": "Detector sha256:" + "89" * 32,
    "date": "2030-01-02T03:04:05+00:00",
    "seconds": 1.5,
    "threads": 1,
    "python": "3.12",
    "versions": {"sepme": "0.1.0", "torch": "2.13.0"},
}
CONCEPTS = (
    "van-gogh",
    "hokusai",
    "renoir",
    "kandinsky",
    "noir",
    "fluent",
    "ink",
    "flat",
    "bazille",
)
RUNGS = ("name", "alias", "template", "long caption", "paraphrase", "typo")
CHROMIUM = shutil.which("chromium")


def figure(metric: str, value: float, **more: object) -> dict:
    return {
        "benchmark": "scenes", "method": "sepme", "concepts": "", "split": "heldout",
        "metric": metric, "value": value, "n": 64, "lo": None, "hi": None, "seeds": [0], **more,
    }  # fmt: skip


def rate(metric: str, seen: int, **more: object) -> dict:
    low, high = wilson(seen, 64)
    return figure(metric, seen / 64, lo=low, hi=high, **more)


def scene_rows() -> list[dict]:
    dice = random.Random(0)
    metrics = ("erased_accuracy", "restored_accuracy", "retained_accuracy")
    rows = []
    for scene in (1, 3):
        there = list(states(scene))
        for time in (None, *(state.time for state in there)):
            for role, metric in zip(ROLES, metrics, strict=True):
                if time is not None and not there[time].of(role):
                    continue
                for split in ("literal", "heldout"):
                    seen = dice.randint(0, 6) if role == "forgotten" else dice.randint(57, 64)
                    at = {"concepts": role, "split": split, "domain": "styles"}
                    at |= {"scene": scene, "time": time}
                    rows += [rate("original_accuracy", 62, **at), rate(metric, seen, **at)]
                    rows += [figure("drift_psnr", float("inf") if seen > 62 else 24.2, **at)]
                    rows += [figure("drift_features", 0.125, lo=0.1, hi=0.2, **at)]
                    if role == "restored" and split == "literal":
                        rows += [figure("restore_error", 1, leak=0.0, **at)]
    return rows


def matrix_rows() -> list[dict]:
    return [
        figure(
            "separability", 1.0 if one == other else 0.001 * len(one) * len(other),
            benchmark="separability", split="literal", concepts=one, concept_i=one, concept_j=other,
        )
        for one in CONCEPTS
        for other in CONCEPTS
    ]  # fmt: skip


def ladder_rows() -> list[dict]:
    return [
        rate(metric, seen + 2 * i, benchmark="ladder", concepts="van-gogh", rung=rung)
        for metric, seen in (("erased_accuracy", 0), ("original_accuracy", 50))
        for i, rung in enumerate(RUNGS)
    ]


def attack_rows() -> list[dict]:
    at = {"benchmark": "attacks", "concepts": "van-gogh", "reliable": True}
    rows = [rate("pre_success_rate", 2, party="erased", **at)]
    for attack, seen, budget in (("best-of-n", 9, 20), ("unlearn-diff-atk", 31, 2000)):
        told = at | {"attack": attack, "access": "prompt", "budget": budget, "unit": "images"}
        rows += [
            rate("attack_success_rate", seen, party="erased", **told),
            rate("post_success_rate", seen + 2, party="erased", **told),
            rate("post_success_rate", 1, party="gold", **told),
            rate("post_success_rate", 64, party="original", **told),
            figure("excess_over_gold", (seen + 1) / 64, party="erased", lo=0.1, hi=0.6, **told),
        ]
        rows += [
            figure("attack_curve", seen / 64 * share, party=party, effort=effort, **told)
            for party in ("erased", "gold")
            for effort, share in ((1.0, 0.2), (float(budget), 1.0))
        ]
    rows += [
        rate("worst_success_rate", 33, party="erased", **at),
        rate("worst_success_rate", 1, party="gold", **at),
    ]
    return rows


def method_rows() -> list[dict]:
    rows = []
    for method, seen in (("sepme", 8), ("uce", 1)):
        for task in ("each", "joint"):
            at = {"benchmark": "methods", "method": method, "task": task, "domain": "styles"}
            at |= {"concepts": "van-gogh+hokusai+fluent", "stage": "fit"}
            for split in ("literal", "heldout"):
                own = at | {"split": split, "role": "erased"}
                rows += [rate("original_accuracy", 63, **own), rate("erased_accuracy", seen, **own)]
            for role, kept in (("same domain", 60), ("other domain", 64)):
                own = at | {"role": role}
                rows += [rate("original_accuracy", 64, **own)]
                rows += [rate("retained_accuracy", kept, **own)]
            rows += [rate("original_cross_domain_accuracy", 62, role="erased", **at)]
            rows += [rate("cross_domain_accuracy", 61, role="erased", **at)]
            rows += [figure("drift_psnr", float("inf"), role="retained", **at)]
            rows += [figure("drift_features", 0.125, role="retained", **at)]
            for stage, error in (("one restored", 31), ("all restored", 0)):
                back = at | {"split": "literal", "stage": stage, "claimed": False}
                by = "refit" if stage == "one restored" else "ledger"
                rows += [figure("restore_error", error, restored_by=by, **back)]
            rows += [figure("seconds", 1.5, **at | {"split": "none"})]
            rows += [figure("peak_memory_mb", 600.2, upper_bound=True, **at | {"split": "none"})]
            rows += [figure("bytes", 43_500, **at | {"split": "none"})]
    failed = {"concepts": "cat", "task": "one", "domain": "objects", "stage": "fit"}
    told = {"benchmark": "methods", "method": "sepme", "split": "none", "reason": "no direction"}
    return [*rows, figure("fit_failed", 1, **failed, **told)]


def whole_report() -> Report:
    """A report with every section."""
    states = ("original", "erased", "restored")
    colours = ("darkred", "gray", "darkred")
    images = [Image.new("RGB", (64, 64), colour) for colour in colours]
    named = dict(zip(states, images, strict=True))
    rows = (*scene_rows(), *matrix_rows(), *ladder_rows(), *attack_rows(), *method_rows())
    pictures = {
        "“a cat by Van Gogh”, seed 7": named,
        "“a church by Hokusai”, seed 8": named,
        "Eight seeds of one prompt": images[:1] * 8,
    }
    return Report(rows, ENVIRONMENT, pictures)


@dataclass(frozen=True)
class Seen:
    """What a browser made of a page: pixel widths, script errors, and what a probe returned."""

    width: int
    wide: int
    errors: list[str]
    found: object


def browse(page: Path, folder: Path, *, width: int, probe: str = "null") -> Seen:
    """Open a copy of a page in headless Chromium, in a frame as wide as a screen.

    A frame, because Chromium refuses windows narrower than about 500 pixels.
    """
    watched = page.read_text(encoding="utf-8").replace(
        "<head>",
        "<head><script>window.errors = [];"
        "addEventListener('error', (event) => errors.push(event.message), true);"
        "console.error = (...said) => errors.push(said.join(' '));</script>",
        1,
    )
    (folder / "watched.html").write_text(watched, encoding="utf-8")
    (folder / "frame.html").write_text(
        f"<!doctype html><body><iframe src='watched.html' style='width:{width}px;height:900px;"
        "border:0'></iframe><pre id='seen'></pre><script>"
        "addEventListener('load', () => { const view = frames[0], root = view.document."
        "documentElement; document.getElementById('seen').textContent = JSON.stringify({"
        f"found: view.eval({json.dumps(probe)}), width: root.clientWidth, "
        "wide: root.scrollWidth, errors: view.errors}); });</script>",
        encoding="utf-8",
    )
    dumped = chromium(folder, "--dump-dom", (folder / "frame.html").as_uri())
    told = re.search(r"<pre id=\"seen\">(.+?)</pre>", dumped, re.DOTALL)
    assert told, dumped[-2000:]
    return Seen(**json.loads(html.unescape(told[1])))


def chromium(folder: Path, *words: str) -> str:
    """Run headless Chromium without touching the network or the user's profile."""
    flags = (
        "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
        "disable-component-update disable-sync allow-file-access-from-files hide-scrollbars"
    )
    command = [CHROMIUM or "chromium", *(f"--{flag}" for flag in flags.split())]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
