"""Figures in plain words."""

from __future__ import annotations

from collections.abc import Iterator

from sepme.core.concept import Concept
from sepme.verify.evidence import Evidence, Row


def headline(evidence: Evidence) -> str:
    """The outcome in a few words, fit for a title.

    Args:
        evidence: What was found.

    Returns:
        A sentence or two.
    """
    if not evidence.passed:
        return "This model did not pass."
    gone, back = _names(evidence.erased), _names(evidence.restored)
    if evidence.erased and not evidence.erasure_verified:
        return f"Erasure of {gone} is not verified."
    parts = []
    if gone:
        parts.append(f"{gone} {_verb(evidence.erased)} suppressed.")
    if back:
        parts.append(f"{back} {_verb(evidence.restored)} back.")
    return " ".join(parts)


def sentences(evidence: Evidence) -> list[str]:
    """What a reader should know first, one sentence or two per concept and one for the rest.

    Args:
        evidence: What was found.

    Returns:
        Sentences, erased concepts first.
    """
    told = [_erased(evidence, concept) for concept in evidence.erased]
    told += [_restored(evidence, concept) for concept in evidence.restored]
    return [*told, *_kept(evidence)]


def count(row: Row) -> int:
    """How many images a rate stands for."""
    return round(float(row["value"]) * int(row["n"]))


def percent(value: float) -> str:
    """A fraction as a percentage.

    Example:
        >>> percent(0.0), percent(0.125)
        ('0 %', '12.5 %')
    """
    return f"{100 * value:.1f} %" if value not in (0.0, 1.0) else f"{100 * value:.0f} %"


def saw_it(number: int) -> str:
    """How often the detector saw something, as the end of a sentence.

    Example:
        >>> saw_it(0), saw_it(1), saw_it(3)
        ('never saw it', 'still saw it once', 'still saw it 3 times')
    """
    if number == 0:
        return "never saw it"
    return "still saw it once" if number == 1 else f"still saw it {number} times"


def _erased(evidence: Evidence, concept: Concept) -> str:
    name = concept.prompts[0]
    for split, where in (
        ("heldout", "in wordings never used in training"),
        ("literal", "by its own prompts"),
    ):
        row = evidence.row("erased_accuracy", concept.name, split)
        if row is None:
            continue
        told = (
            f"“{name}” was asked for {row['n']} times {where}; the detector {saw_it(count(row))}."
        )
        before = evidence.row("original_accuracy", concept.name, split)
        if before is not None:
            told += f" In images of the original model it saw it {of(before)} times."
        return told
    return (
        f"“{name}” is suppressed, but no detector here can tell whether an image shows it: "
        "erasure not verified. Compare the pictures below."
    )


def _restored(evidence: Evidence, concept: Concept) -> str:
    row = evidence.row("restore_error", concept.name, "literal")
    told = f"“{concept.prompts[0]}” was erased and given back."
    if row is None:
        return told
    if row["value"] == 0:
        return f"{told} Its {row['n']} images are equal to the original's, pixel for pixel."
    return (
        f"{told} Its {row['n']} images on its own prompts differ from the original's by at most "
        f"{row['value']} of 255 brightness steps."
    )


def _kept(evidence: Evidence) -> Iterator[str]:
    for pool in ("styles", "objects"):
        before = evidence.row("original_accuracy", pool, "heldout")
        after = evidence.row("retained_accuracy", pool, "heldout")
        if before is not None and after is not None:
            yield (
                f"Other {pool} were recognised {of(after)} times, and {of(before)} times in the "
                "original model's images of the same prompts and seeds."
            )


def of(row: Row) -> str:
    """A rate as its count."""
    return f"{count(row)} of {row['n']}"


def rate_words(row: Row) -> str:
    """A rate of images with its count and interval.

    Args:
        row: A rate.

    Returns:
        The figure in words, without a verb.
    """
    told = f"{of(row)} images, {percent(row['value'])}"
    if row["lo"] is None:
        return told
    return f"{told} (95 % interval {100 * row['lo']:.1f} to {100 * row['hi']:.1f} %)"


def _names(concepts: tuple[Concept, ...]) -> str:
    names = [concept.prompts[0] for concept in concepts]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _verb(concepts: tuple[Concept, ...]) -> str:
    return "is" if len(concepts) == 1 else "are"
