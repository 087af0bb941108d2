"""``sepme metrics``."""

from __future__ import annotations

import math
from typing import Any

from sepme.cli._app import SETUP, Run, command
from sepme.cli._screen import table


@command(panel=SETUP)
def metrics(run: Run) -> None:
    """Which metrics there are, what each takes, and which way is good."""
    rows = metric_facts()
    columns = ("metric", "takes", "good", "range", "needs weights")
    cells = [
        (
            row["name"],
            row["takes"],
            "high" if row["higher_is_better"] else "low",
            " to ".join(_shown(bound) for bound in row["bounds"]),
            row["needs"],
        )
        for row in rows
    ]
    run.screen.result({"metrics": rows}, table(columns, cells))


def metric_facts() -> list[dict[str, Any]]:
    """What each metric declares of itself, sorted by name; an endless range has None at its end."""
    from sepme.metrics import METRICS

    return [
        {
            "name": name,
            "takes": METRICS[name].takes,
            "higher_is_better": METRICS[name].higher_is_better,
            "bounds": [None if math.isinf(bound) else bound for bound in METRICS[name].bounds],
            "needs": METRICS[name].needs,
        }
        for name in METRICS
    ]


def _shown(bound: float | None) -> str:
    return "any" if bound is None else f"{bound:g}"
