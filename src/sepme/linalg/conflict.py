"""Two gradients that may pull against each other."""

from __future__ import annotations

from torch import Tensor


def without_conflict(wanted: Tensor, kept: Tensor, share: float = 1.0) -> Tensor:
    """A gradient without the part of it that works against another.

    Where ``<wanted, kept> < 0``, a step down ``wanted`` climbs ``kept``. What is taken off then is
    ``share`` of the projection of ``wanted`` on ``kept``; otherwise nothing is.

    Args:
        wanted: Gradient that is followed, of any shape.
        kept: Gradient of what must not grow, same shape.
        share: 1 takes the whole conflict off, so that the two are orthogonal; 0 none of it.

    Returns:
        Same shape as ``wanted``.

    Example:
        >>> import torch
        >>> kept = torch.tensor([0.0, 2.0])
        >>> without_conflict(torch.tensor([1.0, -3.0]), kept)
        tensor([1., 0.])
        >>> without_conflict(torch.tensor([1.0, 3.0]), kept)
        tensor([1., 3.])
    """
    overlap = (wanted * kept).sum()
    if overlap >= 0:
        return wanted
    return wanted - share * (overlap / kept.square().sum()) * kept
