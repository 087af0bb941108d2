"""A logo that no caption mentions, and where training images of the logo variant carry it."""

from __future__ import annotations

import torch
from torch import Tensor

from demo_model import IMAGE_SIZE

SIDE, MARGIN, BORDER = 16, 2, 4
"""Pixels: the logo's side, its distance from the two nearest edges, the width of its frame."""

_DARK, _BRIGHT = (-0.9, -0.9, -0.9), (1.0, 0.3, -0.9)


def logo() -> Tensor:
    """The logo, ``(3, SIDE, SIDE)``, -1 to 1: an orange square in a black frame."""
    dark, bright = (torch.tensor(colour).view(3, 1, 1) for colour in (_DARK, _BRIGHT))
    edge = torch.arange(SIDE)
    inner = (edge >= BORDER) & (edge < SIDE - BORDER)
    return torch.where(inner[:, None] & inner, bright, dark)


def corners() -> Tensor:
    """Row and column of the logo's first pixel in each corner of an image, ``(4, 2)``."""
    far = IMAGE_SIZE - SIDE - MARGIN
    return torch.tensor([(y, x) for y in (MARGIN, far) for x in (MARGIN, far)])


def stamp(images: Tensor, places: Tensor) -> Tensor:
    """Images with the logo on them.

    Args:
        images: ``(n, 3, h, w)``, -1 to 1; they stay as they are.
        places: Row and column of the logo's first pixel, ``(n, 2)``, integers.

    Returns:
        Same shape.
    """
    marked, mark = images.clone(), logo()
    for image, (y, x) in zip(marked, places.tolist(), strict=True):
        image[:, y : y + SIDE, x : x + SIDE] = mark
    return marked
