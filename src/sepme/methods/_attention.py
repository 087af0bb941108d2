"""How much attention some words get, and where in an image they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, interpolate

_SMALLEST = 1e-24
"""Squared norms below this count as this, so that the gradient of a norm of zero is zero."""


def norm(squares: Tensor) -> Tensor:
    """Root of summed squares, with a gradient of zero at zero.

    Args:
        squares: Any shape.

    Returns:
        Same shape.
    """
    return squares.clamp(min=_SMALLEST).sqrt()


def attention_masks(
    maps: Mapping[str, Tensor], columns: Tensor, size: Sequence[int], threshold: float
) -> Tensor:
    """Pixels that look at some tokens more than a share of the most attentive one.

    Args:
        maps: Layer to probabilities, ``(n, heads, pixels, tokens)``.
        columns: 1 for the tokens that count, else 0, ``(n, tokens)``.
        size: Height and width of the latents.
        threshold: Least attention, averaged over layers and heads and scaled so that the least
            attentive pixel of an image has 0 and the most attentive 1; at 0 every pixel counts.

    Returns:
        1 for the pixels that count, else 0, ``(n, height, width)``, float32.
    """
    seen = [
        interpolate(_square(_attended(probabilities, columns), size), size, mode="bilinear")[:, 0]
        for probabilities in maps.values()
    ]
    mean = torch.stack(seen).mean(dim=0)
    least, most = (bound(mean, dim=(1, 2), keepdim=True) for bound in (torch.amin, torch.amax))
    return ((mean - least) >= threshold * (most - least)).float()


def for_layer(mask: Tensor, pixels: int) -> Tensor:
    """A mask at the resolution of one layer.

    A layer's pixel counts if any it covers does, so that small things are not lost.

    Args:
        mask: ``(n, height, width)``.
        pixels: Number of the layer's pixels.

    Returns:
        ``(n, pixels)``.
    """
    return adaptive_max_pool2d(mask, _sides(mask.shape[-2:], pixels)).flatten(1)


def _attended(probabilities: Tensor, columns: Tensor) -> Tensor:
    """What each pixel gives the tokens, averaged over heads, ``(n, pixels)``."""
    return (probabilities.float().mean(dim=1) * columns[:, None]).sum(dim=-1)


def _square(pixels: Tensor, size: Sequence[int]) -> Tensor:
    return pixels.view(len(pixels), 1, *_sides(size, pixels.shape[1]))


def _sides(size: Sequence[int], pixels: int) -> tuple[int, int]:
    """Height and width of a layer: the latents' halved, rounding up, until the pixels fit."""
    height, width = size
    while height * width > pixels:
        height, width = (height + 1) // 2, (width + 1) // 2
    return height, width
