"""Whether a metric can tell a model that never learned a concept from one that still knows it."""

from __future__ import annotations

from dataclasses import dataclass

from sepme.core.metric import Score


@dataclass(frozen=True, slots=True)
class Meaning:
    """Whether a metric's figures on erased models mean anything.

    Attributes:
        informative: Whether they do.
        reason: Why, or why not, in a sentence.
    """

    informative: bool
    reason: str


def informative(gold: Score, original: Score, *, higher_is_better: bool) -> Meaning:
    """Hold a metric against the two models whose answers are known.

    The gold model was trained anew without the concept, the original still knows it. A metric of
    erasure must prefer the gold one, with intervals that do not meet; else no figure of it between
    the two says how much was erased.

    Args:
        gold: Its figure on the retrained model.
        original: Its figure on the model before anything was erased.
        higher_is_better: Whether a larger figure is the better one.

    Returns:
        The verdict. Without intervals it is that the metric is uninformative.

    Example:
        >>> gold, original = Score(0.98, 100, (0.93, 0.99)), Score(0.04, 100, (0.02, 0.1))
        >>> informative(gold, original, higher_is_better=True).informative
        True
    """
    if gold.ci95 is None or original.ci95 is None:
        return Meaning(False, "uninformative: it has no interval to tell the two models apart.")
    better, worse = (gold, original) if higher_is_better else (original, gold)
    figures = f"gold {gold.value:.3g}, original {original.value:.3g}"
    if better.value < worse.value:
        return Meaning(False, f"uninformative: it prefers the original ({figures}).")
    if gold.ci95[0] <= original.ci95[1] and original.ci95[0] <= gold.ci95[1]:
        return Meaning(False, f"uninformative: the intervals overlap ({figures}).")
    return Meaning(True, f"informative: the intervals lie apart ({figures}).")
