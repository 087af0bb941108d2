"""``sepme bench``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sepme.cli._app import DEMO, LOOK, Run, command
from sepme.cli._screen import table
from sepme.errors import SpecError, shown

if TYPE_CHECKING:
    from rich.table import Table

    from sepme.bench import Report

_PLACES = (
    "scene", "size", "stage", "state", "level", "rung", "concept_i", "attack", "party", "domain",
    "listed",
)  # fmt: skip
"""Columns that tell rows of one benchmark apart."""
_COMPARING = ("capacity", "methods")
"""Benchmarks of several methods."""

Name = Annotated[
    str,
    typer.Argument(
        metavar="BENCHMARK",
        help="algebra, attacks, capacity, efficiency, ladder, methods or scenes.",
    ),
]
Method = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help="See `sepme methods`; capacity, methods: repeat; methods: all.",
        show_default="sepme; methods: all",
    ),
]
Concept = Annotated[
    list[str] | None,
    typer.Option("--concept", metavar="NAME", help="All but capacity, scenes: this one; repeat."),
]
Domain = Annotated[
    Literal["styles", "objects"] | None,
    typer.Option("--domain", help="scenes: which nine concepts.", show_default="styles"),
]
Full = Annotated[bool, typer.Option("--full", help="attacks: all of them, not the cheap ones.")]
Least = Annotated[
    int | None,
    typer.Option(
        "--least", metavar="N", help="Images of a figure; not attacks, capacity, efficiency."
    ),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Of fits and images.", show_default="0")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any option of the benchmark; repeat."),
]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Options as YAML; flags win.")
]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", help="Images and fits.", show_default="the user's"),
]
Executor = Annotated[
    str, typer.Option("--executor", metavar="NAME", help="Who fits and draws: local, process, ray.")
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Also write the rows, .json or .csv.")
]
ReportFile = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE", help="Also write a report, .html or .pdf."),
]


@command(panel=LOOK)
def bench(  # noqa: PLR0913, PLR0917 (one per flag)
    run: Run,
    benchmark: Name,
    method: Method = None,
    concept: Concept = None,
    domain: Domain = None,
    full: Full = False,
    least: Least = None,
    seed: Seed = None,
    options: Set = None,
    config: Config = None,
    cache: Cache = None,
    executor: Executor = "local",
    out: Out = None,
    report: ReportFile = None,
) -> None:
    """Run a benchmark on the demo model; interrupted, it goes on where it was.

    Nothing that was drawn or fitted before, under the same circumstances, is made again. An option
    that the benchmark does not have is refused.
    """
    flags = {
        **_methods(benchmark, method or ()),
        "concepts": tuple(concept or ()) or None,
        "domain": domain,
        "full": full or None,
        "least": least,
        "seed": seed,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    chosen = {**_configured(config), **given, **dict(map(_set, options or ()))}
    from sepme.bench import run as run_benchmark
    from sepme.bench import specify
    from sepme.core.executor import executor_of

    specify(benchmark, **chosen)
    how: dict[str, Any] = {"executor": executor_of(executor), "progress": not run.quiet}
    found = run_benchmark(benchmark, model=run.load(DEMO), cache=cache, **how, **chosen)
    if out is not None:
        found.write(out)
    if report is not None:
        (found.to_pdf if report.suffix == ".pdf" else found.to_html)(report)
    run.screen.result(found.to_dict(), *_parts(found))
    if report is not None:
        run.screen.show(f"Report: {report}")


def _methods(benchmark: str, names: Sequence[str]) -> dict[str, Any]:
    """One method; several where they are compared."""
    if benchmark in _COMPARING:
        return {"methods": tuple(names) or None}
    if len(names) > 1:
        raise SpecError(
            f"{benchmark} measures one method, got {', '.join(names)}. Compare several with "
            "sepme bench methods."
        )
    return {"method": names[0] if names else None}


def _configured(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise SpecError(f"{path} cannot be read as YAML: {reason}.") from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise SpecError(f"{path} must map option names to values, got {shown(found)}.")
    return found


def _set(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise SpecError(f"--set needs NAME=VALUE, got {shown(text)}; for instance --set steps=10.")
    import yaml

    try:
        return name.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SpecError(f"{shown(value)} is no value for {name!r}; write it as in YAML.") from error


def _parts(report: Report) -> Sequence[Table]:
    from sepme.bench import BENCHMARKS
    from sepme.report.bench_methods import methods_table, parts

    if report.environment["benchmark"] == "methods":
        return [
            table(part.columns, [[cell.text for cell in row] for row in part.rows])
            for part in parts(methods_table(report.rows))
        ]
    headline = BENCHMARKS[report.environment["benchmark"]].headline
    rows = [row for row in report.rows if row["metric"] in headline and row.get("time") is None]
    places = [place for place in _PLACES if any(place in row for row in rows)]
    columns = (*places, "concepts", "prompts", "figure", "value", "95 % interval", "n")
    return [table(columns, [_cells(row, places) for row in rows])]


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
