"""Figures held against thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sepme.core.concept import Concept
from sepme.verify.evidence import Check, Row, Thresholds


def judge(
    rows: Iterable[Row], concepts: Iterable[Concept], thresholds: Thresholds
) -> tuple[Check, ...]:
    """Every figure a threshold exists for.

    Args:
        rows: Tidy rows.
        concepts: The concepts they speak of, for their plain names.
        thresholds: What to reach.

    Returns:
        One check per judged figure.
    """
    names = {concept.name: concept.prompts[0] for concept in concepts}
    return tuple(check for row in rows for check in _judge(row, names, thresholds))


def _judge(row: Row, names: dict[str, str], limits: Thresholds) -> Iterator[Check]:
    name = names.get(row["concepts"], row["concepts"])
    metric, split = row["metric"], row["split"]
    found = f"{_percent(row['value'])} of {_images(row)}"
    if metric == "erased_accuracy" and split in ("literal", "heldout"):
        limit = limits.erased_literal if split == "literal" else limits.erased_heldout
        where = "its own prompts" if split == "literal" else "wordings never used in training"
        yield Check(
            f"{name} is gone on {where}",
            row["value"] <= limit,
            f"Seen in {found} (95 % interval {_range(row)}); at most {_percent(limit)} is allowed.",
        )
    elif metric == "original_accuracy" and row["concepts"] in names:
        yield Check(
            f"the detector knows {name} when it sees it ({split} prompts)",
            row["value"] >= limits.original_at_least,
            f"Seen in {found} by the original model; at least "
            f'{_percent(limits.original_at_least)} is needed to trust a "gone".',
        )
    elif metric == "retained_drop":
        what = f"other {row['concepts']} are still drawn ({split} prompts)"
        yield _drop(row, what, limits.retained_drop)
    elif metric == "restored_drop":
        yield _drop(row, f"{name} is drawn again ({split} prompts)", limits.retained_drop)


def _drop(row: Row, what: str, limit: float) -> Check:
    held = row["value"] <= limit
    failed = row["lo"] > limit
    outcome = None if not held and not failed else held
    between = f"95 % interval {100 * row['lo']:.1f} to {100 * row['hi']:.1f}"
    points = f"{100 * row['value']:.1f} points on {_images(row)} ({between})"
    note = " More images would decide." if outcome is None else ""
    if held and row["hi"] > limit:
        note = " So few images cannot rule out a larger loss."
    return Check(
        what,
        outcome,
        f"Accuracy fell by {points}; at most {100 * limit:.1f} points are allowed.{note}",
    )


def _images(row: Row) -> str:
    return f"{row['n']} image{'s' if row['n'] > 1 else ''}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _range(row: Row) -> str:
    return f"{100 * row['lo']:.1f} to {100 * row['hi']:.1f} %"
