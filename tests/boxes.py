"""Detectors of fixed answers, for methods that need one."""

from collections.abc import Sequence

from PIL.Image import Image

from sepme.core.boxes import Box
from sepme.core.concept import Concept


def upper_left(images: Sequence[Image], concept: Concept) -> list[list[Box]]:
    """A box in the upper left quarter of every second image."""
    return [[Box(0.05, 0.05, 0.45, 0.45, 0.9)] * (i % 2) for i in range(len(images))]


def lower_half(images: Sequence[Image], concept: Concept) -> list[list[Box]]:
    """A box in the lower half of every image, and a doubtful one above."""
    return [[Box(0, 0.5, 1, 1, 0.9), Box(0, 0, 1, 0.5, 0.2)] for _ in images]


def nothing(images: Sequence[Image], concept: Concept) -> list[list[Box]]:
    """No box at all."""
    return [[] for _ in images]


def too_few(images: Sequence[Image], concept: Concept) -> list[list[Box]]:
    """No answer for the last image."""
    return [[] for _ in images[1:]]
