"""Labels as detectors give them, checked."""

from __future__ import annotations

from collections.abc import Sequence

from sepme.errors import SpecError

NONE = "none"
"""Label of an image in which a detector sees nothing it knows."""


def check_labels(expected: Sequence[str], seen: Sequence[str]) -> None:
    """Refuse labels that are not one expected and one seen label per image.

    Args:
        expected: The label asked for, one per image.
        seen: The label the detector gave, one per image.

    Raises:
        SpecError: If the counts differ, a text stands for a list, or ``"none"`` is asked for.
    """
    if isinstance(expected, str) or isinstance(seen, str):
        raise SpecError(f"labels are needed in a list, got {expected!r} and {seen!r}. Use [...].")
    if len(expected) != len(seen):
        raise SpecError(
            f"one label is needed per image, got {len(expected)} expected and {len(seen)} seen. "
            "Label every image; a missing one is not a miss."
        )
    if NONE in expected:
        raise SpecError(f"{NONE!r} cannot be asked for. Leave out images that are not judged.")
