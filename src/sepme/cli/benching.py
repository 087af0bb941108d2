"""``sepme bench``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sepme.cli._app import DEMO, LOOK, Run, command
from sepme.cli._screen import table

if TYPE_CHECKING:
    from rich.table import Table

    from sepme.bench import Report

_OWN = "The benchmark's own"
_PLACES = ("scene", "stage", "level", "rung", "concept_i", "attack", "party")
"""Columns that tell rows of one benchmark apart."""


@command(panel=LOOK)
def bench(  # noqa: PLR0913, PLR0917 (one per flag)
    run: Run,
    benchmark: Annotated[
        str,
        typer.Argument(metavar="BENCHMARK", help="algebra, attacks, efficiency, ladder, scenes"),
    ],
    method: Annotated[
        str | None,
        typer.Option("--method", metavar="NAME", help="See `sepme methods`.", show_default="sepme"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help="Of fits and images.", show_default="0"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", metavar="N", help="Denoising steps of an image.", show_default="25"
        ),
    ] = None,
    concept: Annotated[
        list[str] | None,
        typer.Option("--concept", metavar="NAME", help="All but scenes: this one; repeat."),
    ] = None,
    domain: Annotated[
        Literal["styles", "objects"] | None,
        typer.Option("--domain", help="scenes: which nine concepts.", show_default="styles"),
    ] = None,
    scene: Annotated[
        list[int] | None,
        typer.Option("--scene", metavar="N", help="scenes: this one; repeat.", show_default="all"),
    ] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option("--attack", metavar="NAME", help="attacks: this one; repeat."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="attacks: all of them, not the cheap ones only.")
    ] = False,
    gold: Annotated[
        str | None,
        typer.Option("--gold", metavar="DIR", help="attacks: folder with models gold-NAME."),
    ] = None,
    examples: Annotated[
        int | None, typer.Option("--examples", metavar="N", help="attacks: prompts a concept.")
    ] = None,
    budget: Annotated[
        int | None, typer.Option("--budget", metavar="N", help="attacks: effort an example.")
    ] = None,
    fits: Annotated[
        int | None,
        typer.Option("--fits", metavar="N", help="efficiency, ladder: fits of a concept."),
    ] = None,
    neighbours: Annotated[
        int | None,
        typer.Option("--neighbours", metavar="N", help="ladder: nearest concepts, and random."),
    ] = None,
    orders: Annotated[
        int | None,
        typer.Option("--orders", metavar="N", help="algebra: random orders of a subset."),
    ] = None,
    toggles: Annotated[
        int | None,
        typer.Option("--toggles", metavar="N", help="algebra: length of the sequence."),
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option("--pairs", metavar="N", help="efficiency: timed pairs."),
    ] = None,
    least: Annotated[
        int | None,
        typer.Option(
            "--least", metavar="N", help="algebra, ladder, scenes: fewest images of a figure."
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", metavar="DIR", help="Images and fits.", show_default="the user's cache"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Also write the rows, .json or .csv."),
    ] = None,
) -> None:
    """Run a benchmark on the demo model; interrupted, it goes on where it was.

    Nothing that was drawn or fitted before, under the same circumstances, is made again. An option
    that the benchmark does not have is refused.
    """
    options = {
        "method": method,
        "seed": seed,
        "steps": steps,
        "concepts": tuple(concept or ()) or None,
        "domain": domain,
        "scenes": tuple(scene or ()) or None,
        "attacks": tuple(attack or ()) or None,
        "full": full or None,
        "gold": gold,
        "examples": examples,
        "budget": budget,
        "fits": fits,
        "neighbours": neighbours,
        "orders": orders,
        "toggles": toggles,
        "pairs": pairs,
        "least": least,
    }
    chosen = {name: value for name, value in options.items() if value is not None}
    from sepme.bench import run as run_benchmark
    from sepme.bench import specify

    specify(benchmark, **chosen)
    report = run_benchmark(
        benchmark, model=run.load(DEMO), cache=cache, progress=not run.quiet, **chosen
    )
    if out is not None:
        report.write(out)
    run.screen.result(report.to_dict(), *_parts(report))


def _parts(report: Report) -> Sequence[Table]:
    from sepme.bench import BENCHMARKS

    headline = BENCHMARKS[report.environment["benchmark"]].headline
    shown = [row for row in report.rows if row["metric"] in headline and row.get("time") is None]
    places = [place for place in _PLACES if any(place in row for row in shown)]
    columns = (*places, "concepts", "prompts", "figure", "value", "95 % interval", "n")
    return [table(columns, [_cells(row, places) for row in shown])]


def _cells(row: Mapping[str, Any], places: Sequence[str]) -> list[str]:
    bounded = row["lo"] is not None
    return [
        *(str(row.get(place, "")) for place in places),
        row["concepts"],
        row["split"],
        row["metric"].replace("_", " "),
        f"{row['value']:.3f}" if bounded else f"{row['value']:.4g}",
        f"{row['lo']:.3f} to {row['hi']:.3f}" if bounded else "",
        str(row["n"]),
    ]
