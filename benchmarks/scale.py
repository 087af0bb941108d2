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
  outer products of single rows, as public code does; the same with one product for a concept; and
  all rows at once, one system a site. ``difference`` is theirs from ours, which is checked against
  a solution in float64;
* ``add-one``: a term of low rank and one solve, checked against a system made anew;
* ``maps``: a map of rank 4 for every concept, as it is stored; ``save``, ``load`` and ``list`` of
  these in a ledger (``list`` is the command ``sepme status``, its start included);
* ``restore-one``: the weights for all stored maps but one; ``hook``: the same set beside the
  weights, which folds nothing;
* ``null space``: of the first concepts' rows, against symbolic elimination.

``of_peak`` is the time the counted operations would take at the speed of large square products in
the same run, over ours. Repeats are medians, interleaved with the batched baseline; loops run once.

    python benchmarks/scale.py [--size sd1|sd2|sdxl] [--concepts N,N,...] [--repeats N]
        [--retained N] [--loop-most N] [--limit SECONDS] [--out FILE] [--json]
"""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from harness import Row, paired, parser, row, seconds_of, show
from null_space import compared
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from sepme.core import compose as composing
from sepme.core.compose import compose, folded
from sepme.core.concept import Concept
from sepme.core.shift import ConceptShift, Provenance
from sepme.core.side_path import side_path
from sepme.core.text_shift import TextShift
from sepme.io.ledger_dir import LedgerDir
from sepme.linalg.text_system import Moments, TextSystem

_SD = (320,) * 2 + (640,) * 2 + (1280,) * 6 + (640,) * 3 + (320,) * 3
WIDTHS = {"sd1": _SD, "sd2": _SD, "sdxl": (640,) * 4 + (1280,) * 60 + (640,) * 6}
"""Output width of every cross-attention layer; its keys and its values are a site each."""

D_TEXT = {"sd1": 768, "sd2": 1024, "sdxl": 2048}
ENCODERS = {
    "sd1": ((768, 12, 12),),
    "sd2": ((1024, 23, 16),),
    "sdxl": ((768, 12, 12), (1280, 32, 20)),
}
"""Width, layers and heads of the text encoders."""

ROWS, RANK, LAMB = 8, 4, 2.0
MAPS_MOST = 1000  # beyond, only the solution of all at once is timed
SENTENCES = 17  # a concept's name, and 8 sentences that say it, with and without it
BASE = "sha256:" + "0" * 64
AGREES, SINGLE = 1e-8, 1e-4  # in float64, and from rows and weights of float32


@dataclass(frozen=True)
class Case:
    """Weights, and rows of what is to move and of what is to stay."""

    size: str
    moved: tuple[Moments, ...]
    still: tuple[Moments, ...]

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Site to a random weight."""
        draw, width = torch.Generator().manual_seed(1), D_TEXT[self.size]
        return {
            f"blocks.{layer}.transformer_blocks.0.attn2.to_{part}": torch.randn(
                d_out, width, generator=draw
            )
            / width**0.5
            for layer, d_out in enumerate(WIDTHS[self.size])
            for part in "kv"
        }

    @cached_property
    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Rows and where they go, float32, for each concept, as closed forms site by site take."""
        known = (*self.moved, *self.still)
        return [(each.rows.float(), (each.rows + each.moves).float()) for each in known]

    def system(self) -> TextSystem:
        """The system of everything."""
        return TextSystem.of((*self.moved, *self.still), lamb=LAMB)

    def solve(self) -> Tensor:
        """The map of everything that is to move."""
        return self.system().together(self.moved)

    def fold(self, text_map: Tensor) -> dict[str, Tensor]:
        """Every weight with the map in it."""
        return {site: folded(weight, text_map) for site, weight in self.weights.items()}

    def both(self) -> dict[str, Tensor]:
        """Solve and fold."""
        return self.fold(self.solve())

    def operations(self) -> dict[str, tuple[float, float]]:
        """Floating-point operations in float64 and in float32, by work."""
        d, moved = D_TEXT[self.size], ROWS * len(self.moved)
        rows = moved + ROWS * len(self.still)
        solve = 2 * d**2 * (rows + moved) + d**3 / 3 + 2 * d**3
        fold = 2 * d**2 * 2 * sum(WIDTHS[self.size])
        restore = 2 * d**2 * RANK * (len(self.moved) - 1)
        return {
            "solve": (solve, 0),
            "fold": (0, fold),
            "solve+fold": (solve, fold),
            "restore-one": (restore, fold),
        }


def moments(count: int, width: int, *, seed: int, move: bool) -> tuple[Moments, ...]:
    """Random rows around a common mean, by falling energy, and where they go."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    mean = torch.randn(width, generator=torch.Generator().manual_seed(0)).double()
    sizes = 0.7 ** torch.arange(ROWS, dtype=torch.float64)
    found = []
    for _ in range(count):
        rows = (mean + normal(ROWS, width)) * sizes[:, None]
        moves = normal(ROWS, width) * sizes[:, None] if move else torch.zeros_like(rows)
        found.append(Moments(rows, moves))
    return tuple(found)


def loop_of_rows(case: Case) -> dict[str, Tensor]:
    """Site by site and concept by concept, outer products of single rows added up."""
    found = {}
    for site, weight in case.weights.items():
        wanted, second = LAMB * weight, LAMB * torch.eye(weight.shape[1])
        for rows, goals in case.pairs:
            values = (goals @ weight.T)[:, :, None]
            wanted = wanted + (values @ rows[:, None, :]).sum(dim=0)
            second = second + (rows[:, :, None] @ rows[:, None, :]).sum(dim=0)
        found[site] = wanted @ torch.inverse(second)
    return found


def loop_of_products(case: Case) -> dict[str, Tensor]:
    """Site by site and concept by concept, one product for all rows of a concept."""
    found = {}
    for site, weight in case.weights.items():
        wanted, second = LAMB * weight, LAMB * torch.eye(weight.shape[1])
        for rows, goals in case.pairs:
            wanted += (goals @ weight.T).T @ rows
            second += rows.T @ rows
        found[site] = wanted @ torch.inverse(second)
    return found


def batched(case: Case) -> dict[str, Tensor]:
    """Site by site, all rows of all concepts at once."""
    rows, goals = (torch.cat(part) for part in zip(*case.pairs, strict=True))
    found = {}
    for site, weight in case.weights.items():
        wanted = LAMB * weight + (goals @ weight.T).T @ rows
        second = LAMB * torch.eye(weight.shape[1]) + rows.T @ rows
        found[site] = torch.linalg.solve(second, wanted.T).T
    return found


def difference_from_float64(case: Case, ours: dict[str, Tensor]) -> float:
    """Ours at one site from the solution of that site in float64."""
    rows, goals = (torch.cat(part).double() for part in zip(*case.pairs, strict=True))
    site, weight = next(iter(case.weights.items()))
    wide = weight.double()
    wanted = LAMB * wide + (goals @ wide.T).T @ rows
    second = LAMB * torch.eye(len(rows.T), dtype=torch.float64) + rows.T @ rows
    return difference(ours, {site: torch.linalg.solve(second, wanted.T).T})


def difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Largest difference, relative to the largest number."""
    gaps = (float((found[site] - weight).abs().max()) for site, weight in expected.items())
    return max(gaps) / max(float(weight.abs().max()) for weight in expected.values())


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
    if (gap := difference_from_float64(case, ours)) > SINGLE:
        raise SystemExit(f"solve+fold: differs from a solution in float64 by {gap:.1e}")
    gap = difference(batched(case), ours)
    both = paired(case.both, lambda: batched(case), pairs=chosen.repeats, warm_up=1)
    yield row("solve+fold", case.size, count, **both, against="uce batched", difference=gap)
    if count <= chosen.loop_most:
        for against, loop in (("uce loop", loop_of_rows), ("uce products", loop_of_products)):
            answers: list[dict[str, Tensor]] = []
            theirs = seconds_of(lambda loop=loop, kept=answers: kept.append(loop(case)))
            more = {"against": against, "difference": difference(answers[0], ours)}
            yield row("solve+fold", case.size, count, both["seconds"], theirs, **more)
    yield added(case, chosen)


def added(case: Case, chosen: Namespace) -> Row:
    """One more concept, checked against a system made anew."""
    system = case.system()
    system.together(case.moved)
    (new,) = moments(1, D_TEXT[case.size], seed=4, move=True)
    moved = (*case.moved, new)
    anew = Case(case.size, moved, case.still).solve()
    gap = float((system.plus(new).together(moved) - anew).abs().max() / anew.abs().max())
    if gap > AGREES:
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
    seconds = anew(lambda: side_path(case.weights, case.weights.keys(), active))
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
    arguments.add_argument("--size", choices=tuple(WIDTHS), default="sd1")
    arguments.add_argument("--concepts", default="1,10,100,1000", help="numbers, with commas")
    arguments.add_argument("--repeats", type=int, default=5, help="timed repeats")
    arguments.add_argument("--retained", type=int, default=100, help="concepts to leave alone")
    arguments.add_argument(
        "--loop-most", type=int, default=1000, help="concepts up to which the loops are timed"
    )
    arguments.add_argument("--limit", type=float, default=60.0, help="seconds for elimination")
    arguments.add_argument("--out", type=Path, help="also write rows and environment here")
    chosen = arguments.parse_args()
    chosen.concepts = [int(count) for count in chosen.concepts.split(",")]
    if min(*chosen.concepts, chosen.repeats, chosen.retained) < 1:
        arguments.error("all numbers must be 1 or more")
    return chosen


def main() -> None:
    """Measure and print."""
    chosen = options()
    width, peaks = D_TEXT[chosen.size], (peak(torch.float64), peak(torch.float32))
    rows: list[Row] = [
        row("peak", chosen.size, 0, 1.0, gflops=speed / 1e9, precision=name)
        for name, speed in zip(("float64", "float32"), peaks, strict=True)
    ]
    still = moments(chosen.retained, width, seed=3, move=False)
    for count in chosen.concepts:
        case = Case(chosen.size, moments(count, width, seed=2, move=True), still)
        found = [*solutions(case, chosen), *(stored(case, chosen) if count <= MAPS_MOST else ())]
        rows += [of_peak(line, case.operations(), peaks) for line in found]
    for count in (1, 2):
        line: dict[str, Any] = compared(ROWS * count, width, chosen.limit)
        rows.append({**line, "arch": chosen.size, "concepts": count})
    rows.append(encoded(chosen.size, chosen.repeats))
    show(rows, as_json=chosen.json, out=chosen.out)


if __name__ == "__main__":
    main()
