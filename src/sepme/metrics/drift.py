"""How far two images of the same prompt and seed lie apart."""

from __future__ import annotations

import math
import statistics
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sepme.core.metric import Metric, Score, Takes
from sepme.errors import SepmeError, SpecError
from sepme.metrics._pairs import ImagePairs, Pixels, difference
from sepme.metrics.intervals import median_interval


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
    mean_square = float(np.square(difference(a, b)).mean())
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
    return int(np.abs(difference(a, b)).max())


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


class PSNR(ImagePairs):
    """Median `psnr` of the same prompts and seeds in the original and the live model."""

    name, higher_is_better, bounds = "psnr", True, (0.0, math.inf)
    _measure = staticmethod(psnr)


class LargestDifference(ImagePairs):
    """Largest `largest_difference` of any pair. A maximum has no interval."""

    name, higher_is_better, bounds = "largest_difference", False, (0.0, 255.0)
    _measure = staticmethod(largest_difference)

    def compute(self) -> Score:
        """The largest difference observed."""
        values = self.observed()
        return Score(max(values), len(values))


class FeatureDistance(Metric[Tensor]):
    """Median `feature_distance` of the same prompts and seeds."""

    name, higher_is_better, bounds = "feature_distance", False, (0.0, 2.0)
    takes: ClassVar[Takes] = "features"

    def reset(self) -> None:
        """Forget everything observed."""
        self._values: list[float] = []

    def update(self, reference: Tensor, live: Tensor) -> None:
        """Observe features of the original's and the live model's images, ``(n, d)`` each."""
        self._values += feature_distance(reference, live).tolist()

    def compute(self) -> Score:
        """The median of everything observed."""
        if not self._values:
            raise SpecError("feature_distance needs pairs of features, got none. Update it first.")
        middle = statistics.median(self._values)
        return Score(middle, len(self._values), median_interval(self._values))
