"""How often a detector sees what was asked for, where it should and where it should not."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from sepme.core.metric import Metric, Score, Takes
from sepme.errors import SpecError, did_you_mean
from sepme.metrics._labels import NONE, check_labels
from sepme.metrics.intervals import wilson

ABSENT = "absent"
"""Label of an image that shows something, but nothing of the kind that was asked about."""


def picture_labels(seen: Mapping[str, Sequence[str]], head: str) -> list[str]:
    """Labels of one detector head that tell "no picture" from "a picture without it".

    A head says ``"none"`` of a black image and of a good picture of something else. Here an image
    keeps ``"none"`` only if *every* head says so: the detector sees no picture at all. Otherwise
    a ``"none"`` of the head becomes ``"absent"``.

    Args:
        seen: What a detector returns: head to one label per image.
        head: The head to read.

    Returns:
        One label per image.

    Raises:
        SpecError: If there is no such head, or the heads speak of unequally many images.

    Example:
        >>> seen = {"style": ["none", "ink"], "object": ["none", "none"]}
        >>> picture_labels(seen, "object")
        ['none', 'absent']
    """
    if head not in seen:
        raise SpecError(f"the detector has no head {head!r}. {did_you_mean(head, seen)}")
    if len({len(labels) for labels in seen.values()}) > 1:
        counts = {name: len(labels) for name, labels in seen.items()}
        raise SpecError(f"every head needs one label per image, got {counts}. Label all images.")
    pictures = [any(label != NONE for label in image) for image in zip(*seen.values(), strict=True)]
    return [
        ABSENT if label == NONE and picture else label
        for label, picture in zip(seen[head], pictures, strict=True)
    ]


def accuracy(expected: Sequence[str], seen: Sequence[str]) -> Score:
    """Share of images in which the detector sees what was asked for.

    Args:
        expected: The label asked for, one per image.
        seen: The label the detector gave, one per image.

    Returns:
        The rate (fraction, 0 to 1) with Wilson's interval.

    Raises:
        SpecError: If there are no images, the counts differ, or ``"none"`` is asked for.

    Example:
        >>> accuracy(["cat", "dog"], ["cat", "none"]).value
        0.5
    """
    check_labels(expected, seen)
    return _rate([e == s for e, s in zip(expected, seen, strict=True)])


def unlearning_accuracy(expected: Sequence[str], seen: Sequence[str]) -> Score:
    """UA, one minus the accuracy on prompts of the erased concept.

    An image that shows nothing counts as erased, as it does in the literature. Report
    `replaced_share` or `none_share` beside it: UA is their sum.

    Args:
        expected: The erased concept's label, one per image.
        seen: The label the detector gave, one per image.

    Returns:
        The rate (fraction, 0 to 1) with Wilson's interval.

    Raises:
        SpecError: If there are no images, the counts differ, or ``"none"`` is asked for.

    Example:
        >>> unlearning_accuracy(["cat"] * 4, ["cat", "dog", "none", "none"]).value
        0.75
    """
    check_labels(expected, seen)
    return _rate([e != s for e, s in zip(expected, seen, strict=True)])


def replaced_share(expected: Sequence[str], seen: Sequence[str]) -> Score:
    """Share of images that show a picture, and not one of the erased concept.

    Black images and noise do not count. Take the labels from `picture_labels` where a detector
    has several heads, so that a good picture of nothing the head knows does count.

    Args:
        expected: The erased concept's label, one per image.
        seen: The label the detector gave, one per image.

    Returns:
        The rate (fraction, 0 to 1) with Wilson's interval.

    Raises:
        SpecError: If there are no images, the counts differ, or ``"none"`` is asked for.

    Example:
        >>> replaced_share(["cat"] * 4, ["cat", "dog", "none", "none"]).value
        0.25
    """
    check_labels(expected, seen)
    return _rate([s not in (e, NONE) for e, s in zip(expected, seen, strict=True)])


def none_share(expected: Sequence[str], seen: Sequence[str]) -> Score:
    """Share of images in which the detector sees nothing.

    Args:
        expected: The label asked for, one per image; only counted.
        seen: The label the detector gave, one per image.

    Returns:
        The rate (fraction, 0 to 1) with Wilson's interval.

    Raises:
        SpecError: If there are no images, the counts differ, or ``"none"`` is asked for.

    Example:
        >>> none_share(["cat"] * 4, ["cat", "dog", "none", "none"]).value
        0.5
    """
    check_labels(expected, seen)
    return _rate([s == NONE for s in seen])


class _LabelRate(Metric[Sequence[str]]):
    """A rate over pairs of an expected label and a seen one."""

    takes: ClassVar[Takes] = "labels"
    bounds = (0.0, 1.0)

    @staticmethod
    @abstractmethod
    def _score(expected: Sequence[str], seen: Sequence[str]) -> Score: ...

    def reset(self) -> None:
        self._expected: list[str] = []
        self._seen: list[str] = []

    def update(self, reference: Sequence[str], live: Sequence[str]) -> None:
        check_labels(reference, live)
        self._expected += reference
        self._seen += live

    def compute(self) -> Score:
        return self._score(self._expected, self._seen)


class UnlearningAccuracy(_LabelRate):
    """`unlearning_accuracy`, on prompts of erased concepts."""

    name, higher_is_better = "ua", True
    _score = staticmethod(unlearning_accuracy)


class ReplacedShare(_LabelRate):
    """`replaced_share`, on prompts of erased concepts."""

    name, higher_is_better = "replaced_share", True
    _score = staticmethod(replaced_share)


class NoneShare(_LabelRate):
    """`none_share`, on any prompts."""

    name, higher_is_better = "none_share", False
    _score = staticmethod(none_share)


class InDomainRetainAccuracy(_LabelRate):
    """IRA: `accuracy` on prompts of other concepts of the same domain, by the same head."""

    name, higher_is_better = "ira", True
    _score = staticmethod(accuracy)


class CrossDomainRetainAccuracy(_LabelRate):
    """CRA: `accuracy` in the other domain, by the other head."""

    name, higher_is_better = "cra", True
    _score = staticmethod(accuracy)


def _rate(hits: Sequence[bool]) -> Score:
    if not hits:
        raise SpecError("a rate needs at least one image, got none. Generate and label some.")
    return Score(sum(hits) / len(hits), len(hits), wilson(sum(hits), len(hits)))
