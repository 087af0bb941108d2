"""What a method's page says of the demo model: its preset, how it was found, and how it did."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sepme.demo import weights

Row = Mapping[str, Any]
DOCS = Path(__file__).parent.parent / "docs"
SWEEPS = DOCS / "experiments" / "sweeps"
TASKS = (
    ("styles", "each", "Styles, each alone"),
    ("styles", "joint", "Styles, together"),
    ("objects", "each", "Objects, each alone"),
    ("objects", "joint", "Objects, together"),
)
COLUMNS = (
    "",
    "Erased, own prompts",
    "Erased, templates",
    "Original, templates",
    "At most half, intervals apart",
    "Kept, same domain",
    "Kept, other domain",
    "Seconds a fit",
)


def blocks(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """Methods that were compared, each with what its page says.

    Args:
        rows: All rows of ``docs/experiments/methods.json``.
    """
    for name in sorted({row["method"] for row in rows}):
        own = [row for row in rows if row["method"] == name]
        yield name, "\n\n".join([preset(name), *(part for part in [told(own)] if part)])


def preset(name: str) -> str:
    """The preset and the sweep that it comes from."""
    chosen = json.loads((weights() / "sepme.json").read_text())["presets"].get(name, {})
    shown = ", ".join(f"`{key}={value!r}`" for key, value in chosen.items())
    path = SWEEPS / f"{name}.json"
    if not path.exists():
        return f"Preset: {shown or 'none'}."
    tried = len(json.loads(path.read_text())["settings"])
    return (
        f"Preset: {shown or 'none'}. [{tried} settings](../experiments/sweeps/{name}.json) were "
        "tried on `train` templates, and what follows is on held-out ones."
    )


def told(rows: Sequence[Row]) -> str:
    """How a method did, a line a task."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for domain, task, label in TASKS:
        part = [row for row in rows if (row["domain"], row["task"]) == (domain, task)]
        if part:
            lines.append(line(part, label))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) if lines[2:] else ""


def line(rows: Sequence[Row], label: str) -> tuple[str, ...]:
    """How a method did at one task."""
    literal = found(rows, "erased_accuracy", split="literal")
    after, before = (
        found(rows, metric, split="heldout", role="erased")
        for metric in ("erased_accuracy", "original_accuracy")
    )
    kept = [
        found(rows, "retained_accuracy", role=f"{domain} domain") for domain in ("same", "other")
    ]
    (seconds,) = (row["value"] for row in rows if row["metric"] == "seconds")
    rates = [rate(row) for row in (literal, after, before)]
    verdict = "yes" if halved(after, before) else "**no**"
    return (label, *rates, verdict, *map(rate, kept), f"{seconds:.2g}")


def halved(after: Row, before: Row) -> bool:
    """Whether an accuracy is at most half of the original's, the intervals being apart."""
    return 2 * after["value"] <= before["value"] and after["hi"] < before["lo"]


def found(rows: Sequence[Row], metric: str, **more: str) -> Row:
    """The one row of a metric."""
    (row,) = (r for r in rows if r["metric"] == metric and more.items() <= r.items())
    return row


def rate(row: Row) -> str:
    """A rate with its interval and count, in per cent."""
    return f"{100 * row['value']:.0f} ({100 * row['lo']:.0f}-{100 * row['hi']:.0f}, n {row['n']})"
