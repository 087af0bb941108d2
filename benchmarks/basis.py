"""The null-space basis against the private one: erasure, drift and seconds, on the same seeds.

Either basis with the paper's loss and the scale that suited it best in sweeps on ``train``
templates, everything else as in the demo preset.

    python benchmarks/basis.py [--seeds N] [--images N] [--out FILE] [--json]
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

from erasure import measure, pooled
from harness import parser, show

import sepme

BASES = {"null-space": 0.03, "private": 0.1}
"""Basis to scale."""
LOSS = {"decorrelate": "batch", "threshold": -2e-3, "images": 8}
"""The paper's loss, a stop that suits it, and images behind the pool."""
TARGETS = ("van-gogh", "hokusai", "fluent")
DRIFT = ("drift_psnr", "drift_features")


def drift(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over fits of what verification says of concepts nobody erased."""
    found = []
    for metric in DRIFT:
        parts = [r for r in rows if r["metric"] == metric and r["concepts"] == "retained"]
        values = [part["value"] for part in parts]
        found.append(
            {
                "metric": metric,
                "concepts": "retained",
                "value": median(values),
                "lowest_fit": min(values),
                "highest_fit": max(values),
                "n": sum(part["n"] for part in parts),
            }
        )
    return found


def main() -> None:
    """Measure every basis, target and seed; print and write the rows."""
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=3, help="fit seeds")
    options.add_argument("--images", type=int, default=24, help="held-out images a fit")
    options.add_argument("--out", type=Path, help="also write rows and environment here")
    chosen = options.parse_args()
    taught = {concept.name: concept for concept in sepme.demo.concepts()}
    lines: list[dict[str, Any]] = []
    for basis, scale in BASES.items():
        method, rows, times = sepme.SepME(basis=basis, scale=scale, **LOSS), [], []
        for seed in range(chosen.seeds):
            for name in TARGETS:
                model = sepme.load("demo")  # a ledger would list the targets before
                start = time.perf_counter()
                method.fit(model, taught[name], seed=seed)
                times.append(time.perf_counter() - start)
                rows += measure(model, [name], seed=seed, images=chosen.images, method=method)
        fits = {"metric": "seconds", "concepts": "erased", "value": median(times), "n": len(times)}
        seeds = list(range(chosen.seeds))
        lines += [
            {**line, "benchmark": "basis", "basis": basis, "scale": scale, "seeds": seeds}
            for line in (*pooled([(1, row) for row in rows]), *drift(rows), fits)
        ]
    show(lines, as_json=chosen.json, out=chosen.out)


if __name__ == "__main__":
    main()
