"""Structural similarity of two images of the same prompt and seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sepme.errors import SpecError
from sepme.metrics._pairs import ImagePairs, Pixels, difference

_RADIUS, _SIGMA = 5, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim(a: Pixels, b: Pixels) -> float:
    """Structural similarity, mean over pixels and channels.

    Wang et al., 2004: means, variances and covariance in a Gaussian window of 11 x 11 pixels with
    a standard deviation of 1.5 pixels, K1 = 0.01, K2 = 0.03. Only places where the whole window
    lies inside the image count; colour channels are treated one by one.

    Args:
        a: Pixels, uint8, ``(height, width)`` or ``(height, width, channels)``, at least 11 x 11.
        b: Pixels, uint8, same shape.

    Returns:
        -1 to 1; 1 if the images are equal.

    Raises:
        SepmeError: If they are not two uint8 arrays of one shape.
        SpecError: If they are smaller than the window, or no images.

    Example:
        >>> grey = np.full((16, 16), 100, np.uint8)
        >>> ssim(grey, grey), round(ssim(grey, grey + np.uint8(100)), 4)
        (1.0, 0.8)
    """
    difference(a, b)  # refuses what is no pair
    if a.ndim not in (2, 3) or min(a.shape[:2]) <= 2 * _RADIUS:
        raise SpecError(
            f"images of at least {2 * _RADIUS + 1} x {2 * _RADIUS + 1} pixels are needed, "
            f"got shape {a.shape}. Use larger images, or psnr."
        )
    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    variances = _blur(x * x) - mean_x**2 + _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    return float(np.mean(likeness / ((mean_x**2 + mean_y**2 + _C1) * (variances + _C2))))


class SSIM(ImagePairs):
    """Median `ssim` of the same prompts and seeds in the original and the live model."""

    name, higher_is_better, bounds = "ssim", True, (-1.0, 1.0)
    _measure = staticmethod(ssim)


def _blur(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Gaussian means, where the window fits."""
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    window = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    window /= window.sum()
    for axis in (0, 1):
        image = np.lib.stride_tricks.sliding_window_view(image, len(window), axis=axis) @ window
    return image
