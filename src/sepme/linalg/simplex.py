"""Projection onto the probability simplex."""

from __future__ import annotations

import torch
from torch import Tensor


def onto_simplex(rows: Tensor) -> Tensor:
    """The nearest distribution to each row.

    ``max(w - theta, 0)`` with the one ``theta`` for which it sums to 1 (Duchi et al., 2008).

    Args:
        rows: ``(..., n)``, any finite numbers.

    Returns:
        Same shape; no entry is negative and the last dimension sums to 1.

    Example:
        >>> onto_simplex(torch.tensor([0.5, 1.5, -1.0]))
        tensor([0., 1., 0.])
    """
    falling = rows.sort(dim=-1, descending=True).values
    excess = falling.cumsum(-1) - 1
    counts = torch.arange(1, rows.shape[-1] + 1, dtype=rows.dtype)
    kept = (falling * counts > excess).sum(-1, keepdim=True)
    return (rows - excess.gather(-1, kept - 1) / kept).clamp(min=0)
