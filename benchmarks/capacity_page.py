"""What the page on clusters says of times: what was measured, and the plan that follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Lines = list[Sequence[str]]
Block = tuple[str, Sequence[str], Lines]
UNITS = ((3600, "hours"), (60, "minutes"), (0, "seconds"))


def blocks(rows: Sequence[Row]) -> Iterator[Block]:
    """Tables by name, each with its columns and lines.

    Args:
        rows: Of ``docs/experiments/capacity-plan.json``.
    """
    costs = {row["work"]: row for row in rows if row["work"] != "plan"}
    measured: Lines = [
        (f"`{work}`", f"{row['seconds']:.3g}", str(row["n"])) for work, row in costs.items()
    ]
    yield "measured", ("", "seconds", "n"), measured
    planned: Lines = [
        (
            f"{row['workers']:,}",
            f"{row['concepts']:,}",
            spelled(row["seconds"]),
            spelled(row["concepts"] * costs["task"]["seconds"]),
            f"{row['stored_gb']:.0f} GB",
        )
        for row in rows
        if row["work"] == "plan"
    ]
    yield "plan", ("workers", "fits", "they take", "the caller is busy", "on disk"), planned


def spelled(seconds: float) -> str:
    """A time in a unit that suits it."""
    size, unit = next((size, unit) for size, unit in UNITS if seconds >= 2 * size)
    return f"{seconds / max(size, 1):.1f} {unit}"
