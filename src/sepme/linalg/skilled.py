"""Weights that matter more for some inputs than for others."""

from __future__ import annotations

import torch
from torch import Tensor


def skilled(weight: Tensor, target: Tensor, base: Tensor, *, ratio: float) -> Tensor:
    """Weights that are important for target inputs, and more so than for base inputs.

    A weight's score is ``|W_ij| n_j``, with ``n_j`` the size of its input feature (Wanda). At each
    timestep those count that are among the largest of their row for the target and score higher
    there than for the base (ConceptPrune); the result is the union over timesteps.

    Args:
        weight: ``W``, ``(d_out, d_in)``.
        target: ``n`` for the target inputs at each timestep, ``(timesteps, d_in)``.
        base: The same for the base inputs.
        ratio: Share of each row that may count at a timestep, 0 to 1; at least one weight.

    Returns:
        Where they are, ``(d_out, d_in)``, boolean.

    Example:
        >>> weight = torch.tensor([[1.0, -3.0, 2.0]])
        >>> used, otherwise = torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([[0.5, 2.0, 0.5]])
        >>> skilled(weight, used, otherwise, ratio=2 / 3)  # the second is used more otherwise
        tensor([[False, False,  True]])
    """
    size = weight.detach().abs().double()
    count = max(1, int(ratio * size.shape[1] + 0.5))
    found = torch.zeros_like(size, dtype=torch.bool)
    for wanted, other in zip(target.to(size), base.to(size), strict=True):
        score = size * wanted
        top = torch.zeros_like(found).scatter_(1, score.topk(count, dim=1).indices, value=True)
        found |= top & (score > size * other)
    return found
