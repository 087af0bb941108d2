"""Where an image shows a concept: what a detector says to the methods that need one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from sepme.core.concept import Concept
from sepme.registry import Registry

if TYPE_CHECKING:
    from PIL.Image import Image


class Box(NamedTuple):
    """A rectangle of an image; the edges are fractions of its width or height, 0 to 1.

    Attributes:
        left: Left edge.
        top: Upper edge.
        right: Right edge.
        bottom: Lower edge.
        confidence: How sure the detector is, 0 to 1.
    """

    left: float
    top: float
    right: float
    bottom: float
    confidence: float


Locate: TypeAlias = Callable[[Sequence["Image"], Concept], Sequence[Sequence[Box]]]
"""Finds a concept in images: any number of boxes for each of them."""


def locator(name: str) -> Locate:
    """The detector of that name.

    Args:
        name: ``"module:function"``, or a name that a distribution registered in the entry-point
            group ``sepme.locators``.

    Returns:
        The function, imported.

    Raises:
        SpecError: If there is none, or it does not import.

    Example:
        >>> locator("math:prod").__name__
        'prod'
    """
    rows = {name: name} if ":" in name else {}
    return Registry[Locate]("locator", rows)[name]
