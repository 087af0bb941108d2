"""What a thousand concepts cost at the true sizes of Stable Diffusion.

Weights are random, in the shapes of the cross-attention keys and values of Stable Diffusion 1.x,
2.x or XL. A concept has 8 rows of text space and where each is to go: random, around a common mean
and by falling energy, as pooled rows of prompts are. Everything to erase, and ``--retained``
concepts more, are in the system. Encoding prompts is not part of it and has a row of its own, by an
encoder of the true size and random weights.

* ``solve``: `TextSystem.of` and `together`, float64, from rows to one map of text space;
* ``fold``: that map into the weights of every site, float32 (`folded`);
* ``solve+fold``: both, against what the same solution costs site by site, as "Unified Concept
  Editing" (Gandikota et al., 2024, eq. 7) states it, in float32: a loop over concepts that adds up
  outer products of single rows, as public code does; the same with one product for a concept; all
  rows at once, one system a site; and one system for all sites, in float32, to which only the
  precision is left to add. ``difference`` is theirs from ours, which is checked against
  a solution in float64;
* ``add-one``: a term of low rank and one solve, checked against a system made anew;
* ``maps``: a map of rank 4 for every concept, as it is stored; ``save``, ``load`` and ``list`` of
  these in a ledger (``list`` is the command ``sepme status``, its start included);
* ``restore-one``: the weights for all stored maps but one; ``hook``: the same set beside the
  weights, which folds nothing;
* ``null space``: of the first concepts' rows, against symbolic elimination.

Baselines that take longer than minutes are left out: `LOOPS` and `BATCHED` say from which number of
concepts on.

``of_peak`` is the time the counted operations would take at the speed of large square products in
the same run, over ours. Repeats are medians, interleaved with the batched baseline; loops run once.

    python benchmarks/scale.py [--size sd1,sd2,sdxl] [--concepts N,N,...] [--repeats N]
        [--retained N] [--limit SECONDS] [--out FILE] [--json]
"""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from harness import Row, paired, parser, row, seconds_of, show
from null_space import compared
from scale_case import (
    D_TEXT,
    RANK,
    ROWS,
    WIDTHS,
    Case,
    batched,
    difference,
    difference_from_float64,
    loop_of_products,
    loop_of_rows,
    moments,
    shared,
)  # fmt: skip
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from sepme.core import compose as composing
from sepme.core.compose import compose
from sepme.core.concept import Concept
from sepme.core.shift import ConceptShift, Provenance
from sepme.core.side_path import side_path
from sepme.core.text_shift import TextShift
from sepme.io.ledger_dir import LedgerDir

ENCODERS = {
    "sd1": ((768, 12, 12),),
    "sd2": ((1024, 23, 16),),
    "sdxl": ((768, 12, 12), (1280, 32, 20)),
}
"""Width, layers and heads of the text encoders."""

MAPS_MOST = 1000  # beyond, only the solution of all at once is timed
LOOPS = {"sd1": 1000, "sd2": 0, "sdxl": 0}
BATCHED = {"sd1": 1000, "sd2": 100, "sdxl": 1}
"""Concepts up to which a baseline is timed."""
SENTENCES = 17  # a concept's name, and 8 sentences that say it, with and without it
BASE = "sha256:" + "0" * 64
AGREES, SINGLE = 1e-8, 1e-4  # in float64, and from rows and weights of float32


def peak(dtype: torch.dtype, width: int = 2048, runs: int = 5) -> float:
    """Operations a second of a large square product."""
    one = torch.randn(width, width, dtype=dtype)
    return 2 * width**3 / min(seconds_of(lambda: one @ one) for _ in range(runs))


def timed(call: Callable[[], object], repeats: int) -> float:
    """Median seconds, after a run that is not counted."""
    call()
    return median(seconds_of(call) for _ in range(repeats))


def solutions(case: Case, chosen: Namespace) -> Iterator[Row]:
    """Rows for the solution of all concepts at once."""
    count, solved = len(case.moved), case.solve()
    yield row("solve", case.size, count, timed(case.solve, chosen.repeats))
    yield row("fold", case.size, count, timed(lambda: case.fold(solved), chosen.repeats))
    ours = case.both()
    if not (gap := difference_from_float64(case, ours)) <= SINGLE:
        raise SystemExit(f"solve+fold: differs from a solution in float64 by {gap:.1e}")
    seconds = timed(case.both, chosen.repeats)
    if count > BATCHED[case.size]:
        yield row("solve+fold", case.size, count, seconds)
    else:
        gap = difference(batched(case), ours)
        both = paired(case.both, lambda: batched(case), pairs=chosen.repeats, warm_up=1)
        yield row("solve+fold", case.size, count, **both, against="uce batched", difference=gap)
        seconds = both["seconds"]
    one = paired(case.both, lambda: shared(case), pairs=chosen.repeats, warm_up=1)
    gap = difference(shared(case), ours)
    yield row("solve+fold", case.size, count, **one, against="one system", difference=gap)
    if count <= LOOPS[case.size]:
        for against, loop in (("uce loop", loop_of_rows), ("uce products", loop_of_products)):
            answers: list[dict[str, Tensor]] = []
            theirs = seconds_of(lambda loop=loop, kept=answers: kept.append(loop(case)))
            more = {"against": against, "difference": difference(answers[0], ours)}
            yield row("solve+fold", case.size, count, seconds, theirs, **more)
    yield added(case, chosen)


def added(case: Case, chosen: Namespace) -> Row:
    """One more concept, checked against a system made anew."""
    system = case.system()
    system.together(case.moved)
    (new,) = moments(1, D_TEXT[case.size], seed=4, move=True)
    moved = (*case.moved, new)
    anew = Case(case.size, moved, case.still).solve()
    gap = float((system.plus(new).together(moved) - anew).abs().max() / anew.abs().max())
    if not gap <= AGREES:
        raise SystemExit(f"add-one: differs from a system made anew by {gap:.1e}")
    seconds = timed(lambda: system.plus(new).together(moved), chosen.repeats)
    return row("add-one", case.size, len(case.moved), seconds, difference=gap)


def shifts_of(case: Case) -> list[ConceptShift]:
    """A map of low rank for every concept, as a fit stores it."""
    system, sites = case.system(), tuple(case.weights)
    found = []
    for i, concept in enumerate(case.moved):
        change = system.map(concept, rank=RANK)
        payload = TextShift(change.left.float(), change.right.float(), sites)
        origin = Provenance(BASE, "sepme-text", {"rank": RANK}, 0, {}, {"rank": RANK})
        named = (Concept(f"concept-{i}", (f"concept {i}",)),)
        found.append(ConceptShift(named, payload, (), True, origin))
    return found


def stored(case: Case, chosen: Namespace) -> Iterator[Row]:
    """Rows for maps that are stored, one for each concept."""
    made: list[list[ConceptShift]] = []
    count = len(case.moved)
    seconds = seconds_of(lambda: made.append(shifts_of(case)))
    yield row("maps", case.size, count, seconds, rank=RANK)
    active = [(shift, 1.0) for shift in made[0]]
    compose(case.weights, active)  # what is in force before the restoring

    def anew(call: Callable[[], object]) -> float:
        return timed(lambda: (composing.forget_maps(), call()), chosen.repeats)

    if one_less := active[: count // 2] + active[count // 2 + 1 :]:
        seconds = anew(lambda: compose(case.weights, one_less))
        yield row("restore-one", case.size, count, seconds)
        seconds = anew(lambda: side_path(case.weights, case.weights.keys(), one_less))
        yield row("hook", case.size, count, seconds, folds=0)
    with TemporaryDirectory() as folder:
        yield from kept(case.size, made[0], Path(folder), chosen.repeats)


def kept(size: str, shifts: Sequence[ConceptShift], folder: Path, repeats: int) -> Iterator[Row]:
    """Rows for a ledger of the shifts."""
    turns = iter(range(repeats + 1))

    def save() -> None:
        path = folder / str(next(turns))
        LedgerDir.create(path, base=BASE, model="random").erase(*shifts)

    first = folder / "0"
    yield row("save", size, len(shifts), timed(save, repeats))
    taken = sum(path.stat().st_size for path in (first / "shifts").iterdir())
    seconds = timed(lambda: LedgerDir(first).shifts(), repeats)
    yield row("load", size, len(shifts), seconds, bytes=taken)
    program = "from sepme.cli import main; main()"
    command = [sys.executable, "-c", program, "status", "--ledger", str(first), "--json"]
    seconds = timed(lambda: subprocess.run(command, check=True, capture_output=True), repeats)
    yield row("list", size, len(shifts), seconds)


def encoded(size: str, repeats: int) -> Row:
    """The prompts of one concept through a text encoder of the true size and random weights."""
    models = []
    for width, layers, heads in ENCODERS[size]:
        config = CLIPTextConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
        )
        models.append(CLIPTextModel(config).eval())
    tokens = torch.randint(0, 49000, (SENTENCES, 77), generator=torch.Generator().manual_seed(0))

    def encode() -> None:
        with torch.no_grad():
            for model in models:
                model(tokens)

    return row("encode", size, 1, timed(encode, repeats), prompts=SENTENCES, weights="random")


def of_peak(line: Row, operations: dict[str, tuple[float, float]], peaks: Sequence[float]) -> Row:
    """The row with its speed, and the share of the time that products at full speed would take."""
    if (counted := operations.get(line["work"])) is None:
        return line
    least = sum(count / speed for count, speed in zip(counted, peaks, strict=True))
    told = {"gflops": sum(counted) / line["seconds"] / 1e9, "of_peak": least / line["seconds"]}
    return {**line, **told}


def options() -> Namespace:
    """What to measure."""
    arguments = parser(__doc__)
    arguments.add_argument("--size", default="sd1", help="sd1, sd2, sdxl, with commas")
    arguments.add_argument("--concepts", default="1,10,100,1000", help="numbers, with commas")
    arguments.add_argument("--repeats", type=int, default=5, help="timed repeats")
    arguments.add_argument("--retained", type=int, default=100, help="concepts to leave alone")
    arguments.add_argument("--limit", type=float, default=60.0, help="seconds for elimination")
    arguments.add_argument("--out", type=Path, help="also write rows and environment here")
    chosen = arguments.parse_args()
    chosen.size = chosen.size.split(",")
    chosen.concepts = [int(count) for count in chosen.concepts.split(",")]
    if unknown := set(chosen.size) - set(WIDTHS):
        arguments.error(f"sizes are {', '.join(WIDTHS)}, not {', '.join(sorted(unknown))}")
    if min(*chosen.concepts, chosen.repeats, chosen.retained) < 1:
        arguments.error("all numbers must be 1 or more")
    return chosen


def measured(size: str, peaks: Sequence[float], chosen: Namespace) -> Iterator[Row]:
    """Rows for one size of model."""
    still = moments(chosen.retained, D_TEXT[size], seed=3, move=False)
    for count in chosen.concepts:
        case = Case(size, moments(count, D_TEXT[size], seed=2, move=True), still)
        found = [*solutions(case, chosen), *(stored(case, chosen) if count <= MAPS_MOST else ())]
        yield from (of_peak(line, case.operations(), peaks) for line in found)
    for count in (1, 2):
        line: dict[str, Any] = compared(ROWS * count, D_TEXT[size], chosen.limit)
        yield {**line, "arch": size, "concepts": count}
    yield encoded(size, chosen.repeats)


def main() -> None:
    """Measure and print."""
    chosen = options()
    peaks = (peak(torch.float64), peak(torch.float32))
    rows: list[Row] = [
        row("peak", "any", 0, 1.0, gflops=speed / 1e9, precision=name)
        for name, speed in zip(("float64", "float32"), peaks, strict=True)
    ]
    for size in chosen.size:
        rows += measured(size, peaks, chosen)
    show(rows, as_json=chosen.json, out=chosen.out)


if __name__ == "__main__":
    main()
