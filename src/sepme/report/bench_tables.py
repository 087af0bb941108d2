"""Benchmark rows as tables that a reader can sort."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sepme.report.sentences import percent
from sepme.verify.evidence import Row

ORIGINALS = {
    "erased_accuracy": "original_accuracy",
    "restored_accuracy": "original_accuracy",
    "retained_accuracy": "original_accuracy",
    "cross_domain_accuracy": "original_cross_domain_accuracy",
}
"""Metric to the same on the original model's images."""
SPLITS = {"literal": "own prompts", "heldout": "new wordings", "train": "training wordings"}
"""Split to what a reader calls it."""
_HIDDEN = ("seeds",)


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


def accuracy_table(rows: Sequence[Row]) -> Table:
    """Accuracies pooled over the time steps of each scene, beside the original's."""
    lines = []
    for row in pooled(rows):
        if row["metric"] in ORIGINALS:
            before = partner(rows, row, ORIGINALS[row["metric"]])
            other = row["metric"] == "cross_domain_accuracy"
            role = f"{row['concepts']}, other domain" if other else row["concepts"]
            shown = [_number(row["scene"]), Cell(role), _split(row)]
            lines.append((*shown, _rate(row), _interval(row), _rate(before), _number(row["n"])))
    columns = ("Scene", "Role", "Prompts", "Now", "95 % interval", "Original", "n")
    return _table("Recognised, all steps of a scene together", columns, lines)


def drift_table(rows: Sequence[Row]) -> Table:
    """How far images moved from the original's, and where they must not have moved."""
    lines = []
    for row in pooled(rows):
        if row["metric"] == "drift_psnr":
            near = [partner(rows, row, name) for name in _BESIDE_PSNR]
            leak = near[2]["leak"] if near[2] else None
            figures = [_figure(found, "value") for found in near]
            shown = [_number(row["scene"]), Cell(row["concepts"]), _split(row)]
            lines.append((*shown, _psnr(row), *figures, _number(leak), _number(row["n"])))
    columns = (
        "Scene", "Role", "Prompts", "PSNR, dB", "Feature distance", "Largest step",
        "Largest step, not listed", "Leak", "n",
    )  # fmt: skip
    return _table("Distance from the original's images, medians", columns, lines)


_BESIDE_PSNR = ("drift_features", "restore_error", "restore_error_unlisted")


def ladder_table(rows: Sequence[Row], title: str) -> Table:
    """Figures of one concept, rung by rung.

    Args:
        rows: Rows with a rung.
        title: Caption of the table.
    """
    lines = [
        (
            Cell(str(row["rung"])),
            Cell(_words(row["metric"])),
            _rate(row) if row["metric"].endswith("accuracy") else _number(row["value"]),
            _interval(row),
            _split(row),
            _number(row["n"]),
        )
        for row in rows
    ]
    return _table(title, ("Rung", "Figure", "Value", "95 % interval", "Prompts", "n"), lines)


def attack_table(rows: Sequence[Row], title: str) -> Table:
    """Success of each attack on one concept, beside the original and a model never taught it.

    Args:
        rows: Rows of metric ``attack_success_rate``.
        title: Caption of the table.
    """
    lines = [
        (
            Cell(attack_name(row)),
            _figure(row, "budget"),
            _rate(row),
            _interval(row),
            _share(row.get("original")),
            _share(row.get("gold")),
            _points(row.get("excess")),
            _number(row["n"]),
        )
        for row in rows
    ]
    columns = (
        "Attack", "Budget", "Success", "95 % interval", "Original", "Never taught", "Excess", "n",
    )  # fmt: skip
    return _table(title, columns, lines)


def every_row(rows: Sequence[Row]) -> Table:
    """All figures as they are, for whoever wants to check."""
    columns = [key for key in dict.fromkeys(k for row in rows for k in row) if key not in _HIDDEN]
    lines = [tuple(_plain(row.get(key)) for key in columns) for row in rows]
    return _table(f"All {len(rows)} figures", [_words(name) for name in columns], lines)


def attack_name(row: Row) -> str:
    """An attack as a reader calls it.

    Example:
        >>> attack_name({"attack": "none"}), attack_name({"attack": "best-of-n"})
        ('before any attack', 'best-of-n')
    """
    known = {"none": "before any attack", "worst": "worst case: any attack"}
    return known.get(row["attack"], str(row["attack"]))


def split_words(row: Row) -> str:
    """A row's prompts as a reader calls them."""
    return SPLITS.get(row["split"]) or str(row["split"])


def pooled(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows of whole scenes."""
    return (row for row in rows if row.get("time") is None)


def partner(rows: Iterable[Row], row: Row, metric: str) -> Row | None:
    """The row of another metric under the same circumstances."""
    keys = ("benchmark", "method", "concepts", "split", "domain", "scene", "time")
    for other in rows:
        if other["metric"] == metric and all(other.get(key) == row.get(key) for key in keys):
            return other
    return None


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    """A table without the columns that nothing was measured for."""
    kept = [i for i in range(len(columns)) if any(row[i].text for row in rows)]
    lines = tuple(tuple(row[i] for i in kept) for row in rows)
    return Table(caption, tuple(columns[i] for i in kept), lines)


def _split(row: Row) -> Cell:
    return Cell(split_words(row))


def _rate(row: Row | None) -> Cell:
    return _share(row["value"] if row else None)


def _share(value: float | None) -> Cell:
    return Cell("") if value is None else Cell(percent(value), value)


def _points(value: float | None) -> Cell:
    return Cell("") if value is None else Cell(f"{100 * value:+.1f} points", value)


def _interval(row: Row) -> Cell:
    if row["lo"] is None:
        return Cell("")
    low, high = row["lo"], row["hi"]
    if row["metric"].endswith(("accuracy", "rate")):
        return Cell(f"{100 * low:.1f} to {100 * high:.1f} %", low)
    return Cell(f"{low:.3g} to {high:.3g}", low)


def _psnr(row: Row) -> Cell:
    value = float(row["value"])
    return Cell("identical" if math.isinf(value) else f"{value:.1f}", value)


def _figure(row: Row | None, key: str) -> Cell:
    return _number(row.get(key) if row else None)


def _number(value: float | str | None) -> Cell:
    if value is None:
        return Cell("")
    number = float(value)
    return Cell(f"{number:.3g}" if number % 1 else f"{number:.0f}", number)


def _plain(value: Any) -> Cell:  # noqa: ANN401 (any JSON type)
    if value in ("Infinity", math.inf):
        return Cell("infinite", math.inf)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell("" if value is None else str(value))
    return Cell(f"{value:.4g}", float(value))


def _words(name: str) -> str:
    return name.replace("_", " ")
