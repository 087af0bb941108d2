"""How far two images of the same prompt and seed lie apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sepme.errors import SepmeError

Pixels = npt.NDArray[np.uint8]


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio of two images.

    Args:
        a: Pixels, uint8, any shape.
        b: Pixels, uint8, same shape.

    Returns:
        Decibels; infinite if the images are equal. 40 is hard to see, 20 is another picture.

    Raises:
        SepmeError: If they are not two uint8 arrays of one shape.

    Example:
        >>> black, white = np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)
        >>> psnr(black, white), psnr(white, white)
        (0.0, inf)
    """
    mean_square = float(np.square(_difference(a, b)).mean())
    return math.inf if mean_square == 0 else 10 * math.log10(255**2 / mean_square)


def largest_difference(a: Pixels, b: Pixels) -> int:
    """Largest difference of any channel of any pixel.

    Args:
        a: Pixels, uint8, any shape.
        b: Pixels, uint8, same shape.

    Returns:
        0 to 255; 0 if the images are equal.

    Raises:
        SepmeError: If they are not two uint8 arrays of one shape.

    Example:
        >>> largest_difference(np.array([3, 250], np.uint8), np.array([5, 249], np.uint8))
        2
    """
    return int(np.abs(_difference(a, b)).max())


def feature_distance(a: Tensor, b: Tensor) -> Tensor:
    """Relative Euclidean distance of feature rows, ``2 |a - b| / (|a| + |b|)``.

    Args:
        a: Features, ``(n, d)``.
        b: Features, ``(n, d)``.

    Returns:
        ``(n,)`` from 0 (equal) to 2 (opposite), float64 (dimensionless).

    Raises:
        SepmeError: If the shapes differ or a number is not finite.

    Example:
        >>> feature_distance(torch.tensor([[3.0, 4.0]]), torch.tensor([[-3.0, -4.0]]))
        tensor([2.], dtype=torch.float64)
    """
    if a.shape != b.shape or a.ndim != 2:
        raise SepmeError(f"two (n, d) matrices are needed, got {a.shape} and {b.shape}.")
    first, second = a.to("cpu", torch.float64), b.to("cpu", torch.float64)
    if not (torch.isfinite(first).all() and torch.isfinite(second).all()):
        raise SepmeError("the features hold numbers that are not finite.")
    apart = 2 * torch.linalg.vector_norm(first - second, dim=1)
    size = torch.linalg.vector_norm(first, dim=1) + torch.linalg.vector_norm(second, dim=1)
    return torch.where(size > 0, apart / size.clamp(min=1e-300), torch.zeros_like(size))


def _difference(a: Pixels, b: Pixels) -> npt.NDArray[Any]:
    if a.dtype != np.uint8 or b.dtype != np.uint8 or a.shape != b.shape or not a.size:
        raise SepmeError(
            "two uint8 arrays of one shape are needed, "
            f"got {a.dtype} {a.shape} and {b.dtype} {b.shape}."
        )
    return a.astype(np.float64) - b.astype(np.float64)
