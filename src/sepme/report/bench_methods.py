"""Rows of the comparison of methods as one table: a line for each method and task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sepme.report.tables import Cell, Table, figure_cell, psnr_cell, table_of
from sepme.verify.evidence import Row

_RATES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("erased_accuracy", {"split": "literal"}),
    ("erased_accuracy", {"role": "erased"}),
    ("retained_accuracy", {"role": "same domain"}),
    ("retained_accuracy", {"role": "other domain"}),
    ("cross_domain_accuracy", {}),
)
_NAMES = ("Method", "Task")
_SEEN = (
    "Erased, own prompts", "Erased, templates", "Kept, same domain", "Kept, other domain",
    "Drawn with it", "n",
)  # fmt: skip
_MOVED = ("PSNR, dB", "Feature distance", "One restored", "All restored")
_SPENT = ("Seconds", "Peak MB", "KB per concept", "Failed")


def methods_view(rows: Sequence[Row]) -> Iterator[Table]:
    """The table, if methods were compared.

    Args:
        rows: The figures of any benchmarks.

    Yields:
        The table, for the template.
    """
    compared = [row for row in rows if row["benchmark"] == "methods"]
    if compared:
        yield methods_table(compared)


def methods_table(rows: Sequence[Row]) -> Table:
    """Every method and task, side by side.

    Rates are percentages with their 95 % intervals, n the fewest images of any. The line
    ``original`` holds the original's rates on the prompts of the same task. A concept of several in
    a domain has no line of its own, only their pool has.

    Args:
        rows: Rows of benchmark ``methods``.
    """
    shown = [row for row in rows if row["task"] != "one" or _lonely(rows, row)]
    lines = []
    for task, concepts in dict.fromkeys((row["task"], row["concepts"]) for row in shown):
        own = [row for row in shown if (row["task"], row["concepts"]) == (task, concepts)]
        methods = list(dict.fromkeys(row["method"] for row in own))
        lines.append(_line("original", own, "original_"))
        lines += [_line(name, [row for row in own if row["method"] == name]) for name in methods]
    columns = (*_NAMES, *_SEEN, *_MOVED, *_SPENT)
    return table_of("Rates in per cent with 95 % intervals; n: fewest images", columns, lines)


def parts(table: Table) -> Iterator[Table]:
    """The same as narrower tables: what is seen, how far images moved, what a fit took.

    Args:
        table: From `methods_table`.

    Yields:
        Tables without empty lines.
    """
    for part in (_SEEN, _MOVED, _SPENT):
        kept = [i for i, name in enumerate(table.columns) if name in (*_NAMES, *part)]
        lines = [[row[i] for i in kept] for row in table.rows]
        full = [line for line in lines if any(cell.text for cell in line[len(_NAMES) :])]
        if full:
            yield table_of(table.caption, [table.columns[i] for i in kept], full)


def _lonely(rows: Sequence[Row], row: Row) -> bool:
    return not any(other["task"] == "each" and other["domain"] == row["domain"] for other in rows)


def _line(name: str, rows: Sequence[Row], prefix: str = "") -> tuple[Cell, ...]:
    rates = [_find(rows, _named(metric, prefix), **at) for metric, at in _RATES]
    head = (Cell(name), Cell(_task(rows[0])), *map(_share, rates))
    n = min((row["n"] for row in rates if row), default=None)
    if prefix:
        return (*head, Cell("" if n is None else str(n), n), *[Cell("")] * len(_MOVED + _SPENT))
    psnr = _find(rows, "drift_psnr")
    failed = [row for row in rows if row["metric"] == "fit_failed"]
    return (
        *head,
        Cell("" if n is None else str(n), n),
        Cell("") if psnr is None else psnr_cell(psnr),
        figure_cell(_find(rows, "drift_features"), "value"),
        _error(_find(rows, "restore_error", stage="one restored")),
        _error(_find(rows, "restore_error", stage="all restored")),
        figure_cell(_find(rows, "seconds"), "value"),
        _peak(_find(rows, "peak_memory_mb")),
        _kilobytes(_find(rows, "bytes")),
        Cell("; ".join(dict.fromkeys(f"{row['stage']}: {row['reason']}" for row in failed))),
    )


def _named(metric: str, prefix: str) -> str:
    if not prefix:
        return metric
    return f"{prefix}{metric if metric.startswith('cross') else 'accuracy'}"


def _task(row: Row) -> str:
    names = str(row["concepts"]).split("+")
    if row["task"] == "one":
        return names[0]
    return f"{len(names)} {row['domain']}, {'together' if row['task'] == 'joint' else 'each alone'}"


def _find(rows: Sequence[Row], metric: str, **more: Any) -> Row | None:  # noqa: ANN401
    """The row of a metric; templates where a split could be meant and none is named."""
    for row in rows:
        literal = more.get("split") == "literal" or metric == "restore_error"
        fits = row["metric"] == metric and (row["split"] == "literal") == literal
        if fits and all(row.get(key) == value for key, value in more.items()):
            return row
    return None


def _share(row: Row | None) -> Cell:
    if row is None:
        return Cell("")
    low, high = 100 * row["lo"], 100 * row["hi"]
    return Cell(f"{100 * row['value']:.0f} ({low:.0f}-{high:.0f})", row["value"])


def _error(row: Row | None) -> Cell:
    """Largest pixel difference; starred where the concept had to be given back by a refit."""
    if row is None:
        return Cell("")
    return Cell(f"{row['value']}{'*' if row['restored_by'] == 'refit' else ''}", row["value"])


def _peak(row: Row | None) -> Cell:
    if row is None:
        return Cell("")
    return Cell(f"{'≤ ' if row['upper_bound'] else ''}{row['value']:.0f}", row["value"])


def _kilobytes(row: Row | None) -> Cell:
    return Cell("") if row is None else Cell(f"{row['value'] / 1000:.1f}", row["value"])
