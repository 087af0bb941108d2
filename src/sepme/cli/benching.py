"""``sepme bench``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sepme.cli._app import DEMO, LOOK, MethodName, Run, Seed, command
from sepme.cli._screen import table

if TYPE_CHECKING:
    from rich.table import Table

    from sepme.bench import Report

_SHOWN = ("erased_accuracy", "restored_accuracy", "retained_accuracy", "restore_error")


@command(panel=LOOK)
def bench(  # noqa: PLR0913, PLR0917 (one per flag)
    run: Run,
    benchmark: Annotated[str, typer.Argument(metavar="BENCHMARK", help="scenes")],
    method: MethodName = "sepme",
    domain: Annotated[
        Literal["styles", "objects"], typer.Option("--domain", help="Which nine concepts.")
    ] = "styles",
    scene: Annotated[
        list[int] | None,
        typer.Option("--scene", metavar="N", help="This scene; repeat.", show_default="all"),
    ] = None,
    least: Annotated[
        int, typer.Option("--least", metavar="N", help="Fewest images behind a pooled figure.")
    ] = 50,
    seed: Seed = 0,
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

    Nothing that was drawn or fitted before, under the same circumstances, is made again.
    """
    from sepme.bench import run as run_benchmark

    report = run_benchmark(
        benchmark,
        model=run.load(DEMO),
        cache=cache,
        progress=not run.quiet,
        method=method,
        domain=domain,
        seed=seed,
        least=least,
        **({"scenes": tuple(scene)} if scene else {}),
    )
    if out is not None:
        report.write(out)
    run.screen.result(report.to_dict(), *_parts(report))


def _parts(report: Report) -> Sequence[Table]:
    columns = ("scene", "role", "prompts", "figure", "value", "95 % interval", "n")
    rows = [
        (
            str(row["scene"]),
            row["concepts"],
            row["split"],
            row["metric"].replace("_", " "),
            f"{row['value']:.3f}" if row["lo"] is not None else f"{row['value']:g}",
            "" if row["lo"] is None else f"{row['lo']:.3f} to {row['hi']:.3f}",
            str(row["n"]),
        )
        for row in report.rows
        if row["time"] is None and row["metric"].removesuffix("_unlisted") in _SHOWN
    ]
    return [table(columns, rows)]
