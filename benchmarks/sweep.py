"""Find a method's demo preset: every setting of a grid, judged on ``train`` templates only.

``python benchmarks/sweep.py METHOD [--grid FILE]`` reads ``benchmarks/grids/METHOD.yaml``, a list
of settings that go over the present preset. With each of them it erases every concept of
``--alone``, and jointly the styles and the objects of ``--together``, and it writes
``docs/experiments/sweeps/METHOD.json``. What was fitted and drawn before is not made again. Nothing
is restored, and no held-out template is looked at.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import harmonic_mean, median
from typing import Any

import yaml

import sepme
from sepme import bench
from sepme.errors import SepmeError
from sepme.methods import METHODS

GRIDS = Path(__file__).parent / "grids"
OUT = Path(__file__).parent.parent / "docs" / "experiments" / "sweeps"
ALONE = ("van-gogh", "church")
TOGETHER = ("van-gogh", "hokusai", "fluent", "church", "cat", "guitar")
SPLIT = "train"
TOLERATED = 0.03
RULE = (
    "Settings with a failed fit come last. The others by the harmonic mean of what is forgotten, "
    "1 - the mean of the erased accuracies on own prompts and on train templates, and what is "
    "kept, 1 - the largest loss of a kept accuracy (same domain, other domain, and what is drawn "
    "with an erased concept; each pooled over all tasks) against the original's, of which "
    f"{100 * TOLERATED:.0f} points count as nothing. Equals: the smaller drift of kept images "
    "(feature distance)."
)
ERASED = ("erased, literal", f"erased, {SPLIT}")
FIGURES: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    ERASED[0]: ("erased_accuracy", "original_accuracy", {"split": "literal"}),
    ERASED[1]: ("erased_accuracy", "original_accuracy", {"split": SPLIT, "role": "erased"}),
    "kept, same domain": ("retained_accuracy", "original_accuracy", {"role": "same domain"}),
    "kept, other domain": ("retained_accuracy", "original_accuracy", {"role": "other domain"}),
    "drawn with it": ("cross_domain_accuracy", "original_cross_domain_accuracy", {}),
}
"""Name to metric, the original's metric, and columns of both."""

Record = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]


def settings(path: Path) -> list[Record]:
    """The settings of a grid."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise SystemExit(f"{path} must be a list of settings, each a mapping.")
    return found


def tried(setting: Record, model: sepme.ErasedPipeline, options: argparse.Namespace) -> Record:
    """Every figure of a setting, or why there are none."""
    shared = {
        "methods": (options.method,),
        "hyperparameters": setting,
        "templates": SPLIT,
        "restores": False,
        "least": options.least,
        "seed": options.seed,
    }
    rows: list[Mapping[str, Any]] = []
    try:
        for kind, names in (("one", options.alone), ("joint", options.together)):
            if names:
                found = bench.run(
                    "methods", model=model, cache=options.cache, progress=False,
                    concepts=tuple(names), tasks=(kind,), **shared,
                )  # fmt: skip
                rows += [row for row in found.rows if row["task"] == kind]
    except SepmeError as error:
        return {"setting": setting, "error": str(error)}
    if failed := [row for row in rows if row["metric"] == "fit_failed"]:
        return {"setting": setting, "error": f"{failed[0]['concepts']}: {failed[0]['reason']}"}
    return {"setting": setting, **judged(rows)}


def judged(rows: Rows) -> Record:
    """Figures pooled over tasks, and what the rule looks at."""
    figures = {name: pooled(rows, *wanted) for name, wanted in FIGURES.items()}
    lost = {n: f["original"] - f["value"] for n, f in figures.items() if n not in ERASED}
    return {
        "figures": figures,
        "loss": max(lost.values()),
        "erased": sum(figures[name]["value"] for name in ERASED) / len(ERASED),
        "drift": median(row["value"] for row in rows if row["metric"] == "drift_features"),
        "seconds_per_fit": {
            row["concepts"]: round(row["value"], 2) for row in rows if row["metric"] == "seconds"
        },
        "steps_per_fit": {
            row["concepts"]: row["value"] for row in rows if row["metric"] == "steps"
        },
    }


def pooled(rows: Rows, metric: str, original: str, at: Mapping[str, str]) -> Record:
    """A rate over all tasks beside the original's."""
    wanted = [row for row in rows if at.items() <= row.items()]
    now, before = ([row for row in wanted if row["metric"] == name] for name in (metric, original))
    n = sum(row["n"] for row in now)
    hits, originals = (sum(row["value"] * row["n"] for row in part) for part in (now, before))
    return {"value": hits / n, "original": originals / n, "n": n}


def order(record: Record) -> tuple[bool, float, float]:
    """What the rule sorts by, best first."""
    if "error" in record:
        return True, 0.0, 0.0
    kept = 1 - max(0.0, record["loss"] - TOLERATED)
    return False, -harmonic_mean([1 - record["erased"], kept]), record["drift"]


def line(record: Record) -> str:
    """A setting and its figures in one line."""
    shown = json.dumps(record["setting"])
    if "error" in record:
        return f"failed: {record['error']}  {shown}"
    rates = [f"{100 * figure['value']:3.0f}" for figure in record["figures"].values()]
    seconds = "/".join(f"{second:.1f}" for second in record["seconds_per_fit"].values())
    return f"{' '.join(rates)}  drift {record['drift']:.3f}  {seconds} s  {shown}"


def main() -> None:
    """Sweep, write every setting, print a line for each and the best."""
    options = parsed()
    grid = settings(options.grid or GRIDS / f"{options.method}.yaml")
    model = sepme.load("demo")
    print(f"per cent: {', '.join(FIGURES)}", flush=True)
    records = []
    for setting in grid:
        records.append(tried(setting, model, options))
        print(line(records[-1]), flush=True)
    best = min(records, key=order)
    preset = model.presets.get(options.method)
    written = {
        "command": command(options),
        **{
            name: getattr(options, name)
            for name in ("method", "alone", "together", "least", "seed")
        },
        "split": SPLIT,
        "rule": RULE,
        "base": model.fingerprint,
        "preset": dict(preset or {}),
        "chosen": None if "error" in best else chosen(options.method, best["setting"], preset),
        "settings": records,
    }
    out = options.out or OUT / f"{options.method}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(written, indent=1, allow_nan=False) + "\n")
    print(f"chosen: {json.dumps(best['setting'])}" if written["chosen"] else "every setting failed")


def command(options: argparse.Namespace) -> str:
    """What repeats the sweep."""
    told = ["python", "benchmarks/sweep.py", options.method, "--least", str(options.least)]
    told += ["--alone", *options.alone, "--together", *options.together]
    return shlex.join([*told, "--seed", str(options.seed)])


def chosen(name: str, setting: Record, preset: Mapping[str, object] | None) -> Record:
    """The best setting, and all that it comes to with the preset and the paper's values."""
    resolved = METHODS[name](**setting).resolve(preset)
    return {"setting": setting, "resolved": asdict(resolved)}


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("method", choices=list(METHODS))
    parser.add_argument("--grid", type=Path, help="YAML list of settings")
    parser.add_argument("--alone", nargs="*", default=list(ALONE), help="erased one at a time")
    parser.add_argument("--together", nargs="*", default=list(TOGETHER), help="erased jointly")
    parser.add_argument("--least", type=int, default=8, help="images per task and figure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="images and fits; the user's own if not given")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
