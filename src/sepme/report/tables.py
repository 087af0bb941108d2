"""Tables that a reader can sort, and the cells in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sepme.report.sentences import percent
from sepme.verify.evidence import Row


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        text: What is written.
        order: What it is sorted by; None is the text.
    """

    text: str
    order: float | None = None

    @property
    def key(self) -> str:
        """What it is sorted by, as JavaScript reads numbers; empty if that is the text."""
        if self.order is None:
            return ""
        return "Infinity" if math.isinf(self.order) else str(self.order)


@dataclass(frozen=True, slots=True)
class Table:
    """A table; its first column names the row.

    Attributes:
        caption: What it holds.
        columns: Their names.
        rows: One cell a column each.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column holds numbers only."""
        return tuple(
            all(cell.order is not None or not cell.text for cell in column)
            for column in zip(*self.rows, strict=True)
        )


def table_of(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    """A table without the columns that nothing was measured for."""
    kept = [i for i in range(len(columns)) if any(row[i].text for row in rows)]
    lines = tuple(tuple(row[i] for i in kept) for row in rows)
    return Table(caption, tuple(columns[i] for i in kept), lines)


def rate_cell(row: Row | None) -> Cell:
    """A row's rate; empty if there is no row."""
    return share_cell(row["value"] if row else None)


def share_cell(value: float | None) -> Cell:
    """A share as a percentage; empty if there is none."""
    return Cell("") if value is None else Cell(percent(value), value)


def points_cell(value: float | None) -> Cell:
    """A difference of two shares."""
    return Cell("") if value is None else Cell(f"{100 * value:+.1f} points", value)


def interval_cell(row: Row) -> Cell:
    """A row's interval, in per cent if its value is a rate; empty if it has none."""
    if row["lo"] is None:
        return Cell("")
    low, high = row["lo"], row["hi"]
    if row["metric"].endswith(("accuracy", "rate", "excess_over_gold")):
        return Cell(f"{100 * low:.1f} to {100 * high:.1f} %", low)
    return Cell(f"{low:.3g} to {high:.3g}", low)


def psnr_cell(row: Row) -> Cell:
    """A row's PSNR in dB."""
    value = float(row["value"])
    return Cell("identical" if math.isinf(value) else f"{value:.1f}", value)


def figure_cell(row: Row | None, key: str) -> Cell:
    """A number in a row; empty if there is none."""
    return number_cell(row.get(key) if row else None)


def number_cell(value: float | str | None) -> Cell:
    """A number as short as it can be read."""
    if value is None:
        return Cell("")
    number = float(value)
    return Cell(f"{number:.3g}" if number % 1 else f"{number:.0f}", number)


def plain_cell(value: Any) -> Cell:  # noqa: ANN401 (any JSON type)
    """Anything, as it was measured."""
    if value in ("Infinity", math.inf):
        return Cell("infinite", math.inf)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell("" if value is None else str(value))
    return Cell(f"{value:.4g}", float(value))


def words(name: str) -> str:
    """A name in code as a reader writes it."""
    return name.replace("_", " ")
