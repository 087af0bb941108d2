"""Plans and evidence as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from sepme.cli._screen import BAD, GOOD, mark, table

if TYPE_CHECKING:
    from sepme.plan import Plan
    from sepme.verify import Check, Evidence

_PAIRS = {
    "erased_accuracy": ("erased, still seen", "original_accuracy"),
    "cross_domain_accuracy": ("erased, the rest", "original_cross_domain_accuracy"),
    "restored_accuracy": ("restored, seen", "original_accuracy"),
    "retained_accuracy": ("kept, seen", "original_accuracy"),
}
"""Rates that people are shown, with what the original model reaches; others are in the report."""


def plan_parts(plan: Plan) -> list[Table | Text]:
    """What a plan says of each concept, and of the room that is left."""
    rows = [
        (
            row.concept,
            f"{row.separability:.2f}",
            f"{row.free} of {plan.dimensions}",
            "-" if row.seconds is None else f"at most {row.seconds:.0f} s",
            f"{row.memory_mb:.0f} MB",
            mark(row.ok, yes="exact" if row.exact else "approximate", no="REFUSED"),
        )
        for row in plan.rows
    ]
    columns = ("concept", "separability", "free directions", "time", "memory", "")
    left = f"Room for about {plan.capacity_left} more concepts of this size beside these."
    return [table(columns, rows, title="Plan", right=columns[1:5]), Text(left)]


def evidence_parts(evidence: Evidence) -> list[Table | Text]:
    """What was measured, what was checked, what did not pass, and the verdict."""
    figures = [_figure(row, evidence) for row in evidence.rows if row["metric"] in _PAIRS]
    checks = (*evidence.checks, *evidence.judgements)
    parts: list[Table | Text] = []
    if figures:
        columns = ("concept", "prompts", "share of images", "before", "now", "95 %", "n")
        parts.append(table(columns, figures, title="Measured", right=columns[3:]))
    parts.append(table(("checked", ""), [(c.name, _result(c)) for c in checks]))
    parts += [
        Text.assemble(_result(check), f"  {check.name}: {check.detail}")
        for check in checks
        if not check.passed
    ]
    verdict = evidence.verdict
    if not evidence.passed:  # which ones was just told
        verdict = f"Not passed: {len(evidence.failures)} of {len(checks)} checks failed."
    return [*parts, Text(), Text(verdict, style=f"bold {GOOD if evidence.passed else BAD}")]


def _figure(row: Mapping[str, Any], evidence: Evidence) -> tuple[str, ...]:
    what, original = _PAIRS[row["metric"]]
    before = evidence.row(original, row["concepts"], row["split"])
    return (
        row["concepts"],
        row["split"],
        what,
        f"{before['value']:.1%}" if before else "",
        f"{row['value']:.1%}",
        f"{row['lo']:.1%}-{row['hi']:.1%}",
        str(row["n"]),
    )


def _result(check: Check) -> Text:
    if check.passed is None:
        return Text("open", style="yellow")
    return mark(check.passed)
