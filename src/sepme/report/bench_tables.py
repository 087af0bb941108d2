"""Benchmark rows as tables that a reader can sort."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sepme.report.tables import (
    Cell,
    Table,
    figure_cell,
    interval_cell,
    number_cell,
    plain_cell,
    psnr_cell,
    rate_cell,
    table_of,
    words,
)
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


def accuracy_table(rows: Sequence[Row]) -> Table:
    """Accuracies pooled over the time steps of each scene, beside the original's."""
    lines = []
    for row in pooled(rows):
        if row["metric"] in ORIGINALS:
            before = partner(rows, row, ORIGINALS[row["metric"]])
            other = row["metric"] == "cross_domain_accuracy"
            role = f"{row['concepts']}, other domain" if other else row["concepts"]
            shown = [number_cell(row["scene"]), Cell(role), _split(row)]
            lines.append(
                (
                    *shown,
                    rate_cell(row),
                    interval_cell(row),
                    rate_cell(before),
                    number_cell(row["n"]),
                )
            )
    columns = ("Scene", "Role", "Prompts", "Now", "95 % interval", "Original", "n")
    return table_of("Recognised, all steps of a scene together", columns, lines)


def drift_table(rows: Sequence[Row]) -> Table:
    """How far images moved from the original's, and where they must not have moved."""
    lines = []
    for row in pooled(rows):
        if row["metric"] == "drift_psnr":
            near = [partner(rows, row, name) for name in _BESIDE_PSNR]
            leak = near[2]["leak"] if near[2] else None
            figures = [figure_cell(found, "value") for found in near]
            shown = [number_cell(row["scene"]), Cell(row["concepts"]), _split(row)]
            lines.append(
                (*shown, psnr_cell(row), *figures, number_cell(leak), number_cell(row["n"]))
            )
    columns = (
        "Scene", "Role", "Prompts", "PSNR, dB", "Feature distance", "Largest step",
        "Largest step, not listed", "Leak", "n",
    )  # fmt: skip
    return table_of("Distance from the original's images, medians", columns, lines)


_BESIDE_PSNR = ("drift_features", "restore_error", "restore_error_unlisted")


def ladder_table(rows: Sequence[Row], title: str) -> Table:
    """Figures of one concept, rung by rung.

    Args:
        rows: Rows with a rung.
        title: Caption of the table.
    """
    lines = []
    for rung in dict.fromkeys(row["rung"] for row in rows):
        by_party = {party_of(row): row for row in rows if row["rung"] == rung}
        now, before = by_party["erased"], by_party.get("original")
        shown = [Cell(str(rung)), _split(now), rate_cell(before)]
        floor = rate_cell(by_party.get("never taught"))
        lines.append((*shown, floor, rate_cell(now), interval_cell(now), number_cell(now["n"])))
    columns = ("Rung", "Prompts", "Original", "Never taught", "Erased", "95 % interval", "n")
    return table_of(title, columns, lines)


def party_of(row: Row) -> str:
    """Whose images a row of the ladder is of."""
    known = {"original": "original", "gold": "never taught"}
    return known.get(row["metric"].partition("_")[0], "erased")


def every_row(rows: Sequence[Row]) -> Table:
    """All figures as they are, for whoever wants to check."""
    columns = [key for key in dict.fromkeys(k for row in rows for k in row) if key not in _HIDDEN]
    lines = [tuple(plain_cell(row.get(key)) for key in columns) for row in rows]
    return table_of(f"All {len(rows)} figures", [words(name) for name in columns], lines)


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


def _split(row: Row) -> Cell:
    return Cell(split_words(row))
