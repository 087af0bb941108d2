"""Find the demo preset of SepME: a small sweep, judged on ``train`` templates only.

Run ``python benchmarks/sweep.py``; about 20 minutes on two cores. It writes
``docs/experiments/sweep.json``, one row per setting and target, and prints the best settings.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sepme
from sepme.core.concept import Concept
from sepme.errors import MethodError

OUT = Path(__file__).parent.parent / "docs" / "experiments" / "sweep.json"
GOALS: tuple[dict[str, Any], ...] = (
    {"decorrelate": "batch", "threshold": -2e-3},
    {"decorrelate": "sample", "threshold": -1e-1, "reversal": 1.0},
    {"decorrelate": "sample", "threshold": -2.5e-1, "reversal": 1.0},
)
SCALES = (1e-2, 2e-2, 3e-2)
FIXED: dict[str, Any] = {"batch_size": 4, "images": 8, "pool": 32, "max_steps": 300}
TARGETS = ("van-gogh", "hokusai", "fluent", "bazille")
TOLERATED = 0.03
"""Most that what is kept may lose, in shares of its images."""
SPLIT = "train"
KEPT = ("retained_style", "retained_object")


@dataclass(frozen=True)
class Asked:
    """A prompt with its labels and seed."""

    prompt: str
    style: str | None
    object: str | None
    seed: int


class Judge:
    """Draws the same prompts and seeds for every setting and counts what the detector sees."""

    def __init__(self, model: sepme.ErasedPipeline, images: int) -> None:
        self.model, self.images = model, images

    def asked(self, target: Concept) -> dict[str, list[Asked]]:
        """Prompts of the target, on their own and with objects, and of everything else."""
        triples = sepme.demo.labelled_prompts(SPLIT)
        mine = [t for t in triples if t[1] == target.name][: self.images]
        rest = [t for t in triples if t[1] != target.name][: 3 * self.images]
        alone = [(target.prompts[0], target.name, None)] * (self.images // 2)
        groups = {"literal": alone, "target": mine, "retained": rest}
        return {
            name: [Asked(*triple, 900_000 + i) for i, triple in enumerate(group)]
            for name, group in groups.items()
        }

    def rates(self, groups: dict[str, list[Asked]]) -> dict[str, float]:
        """Style and object accuracy of every group with the live weights."""
        found = {}
        for name, asked in groups.items():
            prompts, seeds = [a.prompt for a in asked], [a.seed for a in asked]
            seen = self.model.detector(self.model.generate(prompts, seeds=seeds))
            for head in ("style", "object"):
                hits = [
                    label == getattr(a, head)
                    for label, a in zip(seen[head], asked, strict=True)
                    if getattr(a, head) is not None
                ]
                if hits:
                    found[f"{name}_{head}"] = sum(hits) / len(hits)
        return found


def settings() -> Iterator[dict[str, Any]]:
    """Every scale with every goal."""
    for scale, goal in itertools.product(SCALES, GOALS):
        yield {"basis": "null-space", "scale": scale, **goal}


def sweep(model: sepme.ErasedPipeline, images: int, seed: int) -> list[dict[str, Any]]:
    """Fit and judge every setting on every target, with nothing retained by the fit."""
    judge = Judge(model, images)
    rows = []
    taught = {c.name: c for c in sepme.demo.concepts()}
    for name in TARGETS:
        groups = judge.asked(taught[name])
        original = judge.rates(groups)
        for setting in settings():
            started = time.perf_counter()
            try:
                shift = sepme.SepME(**FIXED, **setting).fit(model, taught[name], seed=seed)
            except MethodError as error:
                rows.append({"target": name, **setting, "error": str(error)})
                continue
            seconds = time.perf_counter() - started
            model.erase(shift)
            row = {"target": name, **setting, **judge.rates(groups), "seconds": seconds}
            model.restore(name)
            row |= {f"original_{key}": value for key, value in original.items()}
            row |= {key: shift.provenance.fit[key] for key in ("steps", "stopped", "momentum")}
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def merit(rows: Sequence[dict[str, Any]], out_of_reach: Collection[str]) -> tuple[bool, float]:
    """What a setting is worth.

    First whether styles and objects nobody erased lose at most `TOLERATED`, whatever the target;
    then how little is left of the target that it forgets worst, targets out of reach left out.
    """
    if any("error" in row for row in rows):
        return False, float("-inf")
    lost = [row[f"original_{key}"] - row[key] for row in rows for key in KEPT]
    left = [left_of(row) for row in rows if row["target"] not in out_of_reach]
    return max(lost) <= TOLERATED, -max(left, default=0.0)


def left_of(row: dict[str, Any]) -> float:
    """How much of its target a setting leaves, on literal prompts and on templates, 0 to 2."""
    return float(row["literal_style"] + row["target_style"])


def unreached(rows: Sequence[dict[str, Any]]) -> set[str]:
    """Targets that no setting forgets by half."""
    best = {name: min(left_of(r) for r in rows if r["target"] == name) for name in TARGETS}
    return {name for name, left in best.items() if left > 1}


def main() -> None:
    """Sweep, write every row, print the five best settings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=24, help="images per group")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = sweep(sepme.load("demo"), options.images, options.seed)
    never = unreached(rows)
    ranked = sorted(
        (
            (merit([r for r in rows if setting.items() <= r.items()], never), setting)
            for setting in settings()
        ),
        key=lambda pair: pair[0],
        reverse=True,
    )
    OUT.parent.mkdir(parents=True, exist_ok=True)
    best = [{"kept": kept, "merit": score, **setting} for (kept, score), setting in ranked]
    record = {
        "command": "python benchmarks/sweep.py",
        **vars(options),
        "out_of_reach": sorted(never),
        "split": SPLIT,
        "fixed": FIXED,
    }
    OUT.write_text(json.dumps({**record, "ranked": best, "rows": rows}, indent=1) + "\n")
    for row in best[:5]:
        print(row)


if __name__ == "__main__":
    main()
