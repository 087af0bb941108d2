"""What the page of SepME in text space says of its gate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Lines = list[Sequence[str]]
Block = tuple[str, Sequence[str], Lines]
SETS = {
    "held-out": "held-out templates",
    "long": "long captions",
    "naming": "names in other forms",
    "frame": "other frames",
    "alias": "aliases",
    "described": "described, not named",
    "typo": "typing mistakes",
    "others": "everything else (false fires)",
}


def blocks(rows: Sequence[Row]) -> Iterator[Block]:
    """Tables by name, each with its columns and lines.

    Args:
        rows: Of ``docs/experiments/gate.json``.
    """
    counted = [row for row in rows if row["benchmark"] == "gate" and row["prompts"] in SETS]
    lines: Lines = []
    for kind in ("styles", "objects"):
        for name, shown in SETS.items():
            found = [r for r in counted if (r["concept"], r["prompts"]) == (kind, name)]
            lines += [(kind, str(row["gates"]), shown, rate(row), leaks(row)) for row in found]
    yield "gate", ("", "gates", "prompts", "fire", "silent, and drawn all the same"), lines
    tried = [row for row in rows if row["benchmark"] == "gate attack"]
    columns = ("", "attack", "gate", "drawn", "gate kept silent", "silent and drawn")
    yield "gate attacked", columns, [attacked(row) for row in tried]
    told = [row for row in rows if row.get("prompts") == "calibration"]
    yield (
        "gate bounds",
        ("gates", "prompts a threshold was set on", "false fires at most"),
        [
            (
                str(len(told)),
                span(told, "others", "{:,.0f}"),
                span(told, "false_fires_upper", "{:.2%}"),
            )
        ],
    )


def rate(row: Row) -> str:
    """A rate with its interval and count, in per cent."""
    low, high = 100 * row["lo"], 100 * row["hi"]
    return f"{100 * row['rate']:.1f} ({low:.1f}-{high:.1f}, n {row['n']:,})"


def span(rows: Sequence[Row], name: str, form: str) -> str:
    """The smallest and the largest of some numbers."""
    values = [row[name] for row in rows]
    return f"{form.format(min(values))} to {form.format(max(values))}"


def leaks(row: Row) -> str:
    """How many of the silent prompts that were drawn show the concept."""
    return f"{row['silent_and_drawn']} of {row['silent_judged']}" if row["silent_judged"] else ""


def attacked(row: Row) -> Sequence[str]:
    """One line of an attack."""
    quiet = ("", "") if not row["gate"] else (str(row["silent"]), str(row["silent_and_drawn"]))
    gate = "yes" if row["gate"] else "no"
    return (row["concept"], row["attack"], gate, rate(row), *quiet)
