"""The null space by singular values against symbolic elimination (``sympy.Matrix.nullspace``).

The same random rows go to both, and both answers must span the same space. Elimination gets a time
limit for each size; ours then goes on alone to the sizes of Stable Diffusion 1.x, where a concept
has 77 rows of 768 numbers.

    python benchmarks/null_space.py [--limit SECONDS] [--json]
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter

import numpy as np
import torch
from harness import Row, parser, row, seconds_of, show
from torch import Tensor

from sepme.linalg.null_space import null_space

COMPARED = ((4, 16), (8, 32), (16, 64), (32, 64), (32, 128), (4, 768), (16, 768), (77, 768))
TOKENS, D_TEXT = 77, 768
TOLERANCE = 1e-8


def rows_of(n: int, d: int) -> Tensor:
    """Random rows in float64."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(n * d), dtype=torch.float64)


def _eliminate(rows: np.ndarray, answer: Connection) -> None:
    from sympy import Matrix

    start = perf_counter()
    vectors = Matrix(rows.tolist()).nullspace()
    seconds = perf_counter() - start
    answer.send((seconds, np.array([vector.T.tolist()[0] for vector in vectors], dtype=float)))


def eliminated(rows: Tensor, limit: float) -> tuple[float, Tensor] | None:
    """Seconds and null vectors by elimination, or None if it is not done in time."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=_eliminate, args=(rows.numpy(), theirs))
    process.start()
    try:
        if not ours.poll(limit):
            return None
        seconds, vectors = ours.recv()
        return seconds, torch.from_numpy(vectors)
    finally:
        process.kill()
        process.join()


def our_seconds(rows: Tensor, runs: int = 5) -> float:
    """Median time of ours."""
    null_space(rows)
    return median(seconds_of(lambda: null_space(rows)) for _ in range(runs))


def compared(n: int, d: int, limit: float) -> Row:
    """One size, both ways, with the projectors checked to be equal."""
    rows = rows_of(n, d)
    seconds = our_seconds(rows)
    work = f"null space, {n} x {d}"
    answer = eliminated(rows, limit)
    if answer is None:
        return row(work, "random", 0, seconds, note=f"elimination not done in {limit:g} s")
    basis, (baseline, vectors) = null_space(rows).basis, answer
    own, _ = torch.linalg.qr(vectors.T)
    gap = float((own @ own.T - basis.T @ basis).abs().max())
    if gap > TOLERANCE:
        raise SystemExit(f"{work}: the two projectors differ by {gap:.1e}")
    return row(work, "random", 0, seconds, baseline, projector_gap=gap)


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--limit", type=float, default=60.0, help="seconds for one elimination")
    chosen = arguments.parse_args()
    rows = [compared(n, d, chosen.limit) for n, d in COMPARED]
    for concepts in range(1, 10):
        embeddings = rows_of(concepts * TOKENS, D_TEXT)
        work = f"null space, {concepts * TOKENS} x {D_TEXT}"
        rows.append(row(work, "sd1", concepts, our_seconds(embeddings)))
    show(rows, as_json=chosen.json)


if __name__ == "__main__":
    main()
