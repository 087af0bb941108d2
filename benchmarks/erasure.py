"""How well SepME erases on the demo model: one style and three styles, several fit seeds.

Every fit seed is verified with image seeds of its own; rates are pooled over fits, with n, a Wilson
95 % interval of the pooled count, and the lowest and highest single fit.

    python benchmarks/erasure.py [--seeds N] [--least N] [--out FILE] [--json]
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import parser, show

import sepme
from sepme.metrics import wilson
from sepme.verify import verify

GROUPS = (("van-gogh",), ("van-gogh", "hokusai", "fluent"))
POOLED = (
    "erased_accuracy",
    "original_accuracy",
    "retained_accuracy",
    "cross_domain_accuracy",
    "original_cross_domain_accuracy",
)
Key = tuple[int, str, str, str]


def needed(styles: int, seeds: int, least: int) -> int:
    """Held-out images a concept and fit, for ``least`` on literal prompts and on what is kept.

    `verify` draws half as many literal prompts of each erased style as held-out ones, and up to a
    sixth of the prompts for what is kept name no style.
    """
    return max(math.ceil(2 * least / (styles * seeds)), math.ceil(1.2 * least / seeds))


def measure(
    model: sepme.ErasedPipeline,
    names: Sequence[str],
    *,
    seed: int,
    images: int,
    method: sepme.SepME | None = None,
) -> list[dict[str, Any]]:
    """Fit, erase and verify one group of styles; the model is as before afterwards."""
    taught = {concept.name: concept for concept in sepme.demo.concepts()}
    method = method or sepme.SepME()
    shifts = method.fit_many(model, [taught[name] for name in names], seed=seed)
    model.erase(*shifts)
    try:
        return [dict(row) for row in verify(model, n=images, seed=seed).rows]
    finally:
        model.restore(*names)


def pooled(rows: Sequence[tuple[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row per group size, metric, pool and split over all fits, and over all erased concepts.

    Args:
        rows: Pairs of the number of erased styles and a row of one verification.
    """
    found: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    for erased, row in rows:
        if row["metric"] in POOLED:
            own = row["concepts"]
            for whom in {own, own if own in ("styles", "objects") else "erased"}:
                found[erased, row["metric"], whom, row["split"]].append(row)
    lines = []
    for (erased, metric, whom, split), parts in sorted(found.items()):
        n = sum(part["n"] for part in parts)
        hits = round(sum(part["value"] * part["n"] for part in parts))
        low, high = wilson(hits, n)
        values = [part["value"] for part in parts]
        lines.append(
            {
                "benchmark": "erasure",
                "method": "sepme",
                "erased": erased,
                "concepts": whom,
                "split": split,
                "metric": metric,
                "value": hits / n,
                "n": n,
                "lo": low,
                "hi": high,
                "lowest_fit": min(values),
                "highest_fit": max(values),
                "seeds": sorted({seed for part in parts for seed in part["seeds"]}),
            }
        )
    return lines


def main() -> None:
    """Measure, pool, print, and write the rows to a file."""
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=3, help="fit seeds")
    options.add_argument("--least", type=int, default=200, help="images behind a pooled figure")
    options.add_argument("--decorrelate", help="instead of the preset's")
    options.add_argument("--scale", type=float, help="instead of the preset's")
    options.add_argument("--threshold", type=float, help="instead of the preset's")
    options.add_argument("--out", type=Path, help="also write rows and environment here")
    chosen = options.parse_args()
    model = sepme.load("demo")
    method = sepme.SepME(
        decorrelate=chosen.decorrelate, scale=chosen.scale, threshold=chosen.threshold
    )
    rows = [
        (len(names), row)
        for names in GROUPS
        for seed in range(chosen.seeds)
        for row in measure(
            model,
            names,
            seed=seed,
            images=needed(len(names), chosen.seeds, chosen.least),
            method=method,
        )
    ]
    lines = pooled(rows)
    show(lines, as_json=chosen.json, out=chosen.out)


if __name__ == "__main__":
    main()
