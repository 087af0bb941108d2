"""Centres of clusters, the same for the same seed."""

from __future__ import annotations

import torch
from torch import Tensor

_STEPS = 100


def k_means(rows: Tensor, count: int, *, seed: int) -> Tensor:
    """Centres of clusters by Lloyd's algorithm, from starts drawn far apart (k-means++).

    Args:
        rows: ``(n, d)``, at least one.
        count: Number of clusters, at least 1.
        seed: Seed of the starts; global randomness is left alone.

    Returns:
        ``(k, d)``, float64, on the CPU, in the order found; ``k`` is ``count``, or the number of
        distinct rows if that is less.

    Example:
        >>> k_means(torch.tensor([[0.0], [1.0], [9.0]]), 2, seed=0).sort(dim=0).values
        tensor([[0.5000],
                [9.0000]], dtype=torch.float64)
    """
    wide = rows.detach().to("cpu", torch.float64)
    centres, places = _starts(wide, count, seed), None
    for _ in range(_STEPS):
        nearest = torch.cdist(wide, centres).argmin(1)
        if places is not None and torch.equal(nearest, places):
            break
        places = nearest
        centres = torch.stack(
            [wide[places == k].mean(0) if (places == k).any() else c for k, c in enumerate(centres)]
        )
    return centres


def _starts(rows: Tensor, count: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    starts = rows[torch.randint(len(rows), (1,), generator=draw)]
    while len(starts) < count:
        away = (rows[:, None] - starts).square().sum(2).min(1).values
        if not away.any():
            break
        starts = torch.cat([starts, rows[torch.multinomial(away, 1, generator=draw)]])
    return starts
