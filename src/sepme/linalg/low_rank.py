"""Matrices kept as thin products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class LowRank(NamedTuple):
    """The matrix ``left @ right``, never stored densely.

    Attributes:
        left: ``(d_out, r)``.
        right: ``(r, d_in)``.
    """

    left: Tensor
    right: Tensor

    def dense(self) -> Tensor:
        """The product, ``(d_out, d_in)``, in float64 on the CPU."""
        return self.left.to("cpu", torch.float64) @ self.right.to("cpu", torch.float64)


def compress(terms: Sequence[LowRank], *, rtol: float = 1e-7) -> LowRank:
    """Balanced factors of a sum of low-rank matrices, at the sum's true rank.

    The factors are ``U sqrt(S)`` and ``sqrt(S) V^T`` of the sum's singular value decomposition,
    obtained from the thin factors alone: no ``(d_out, d_in)`` matrix is ever formed.

    Args:
        terms: At least one; all of the same ``(d_out, d_in)``.
        rtol: Singular values below ``rtol * s_max`` are dropped (dimensionless).

    Returns:
        Factors in float64 on the CPU; of rank zero if the sum is zero.

    Example:
        >>> one = LowRank(torch.ones(3, 1), torch.ones(1, 2))
        >>> both = compress([one, one])
        >>> both.left.shape, both.right.shape
        (torch.Size([3, 1]), torch.Size([1, 2]))
    """
    left = torch.cat([term.left.to("cpu", torch.float64) for term in terms], dim=1)
    right = torch.cat([term.right.to("cpu", torch.float64) for term in terms], dim=0)
    outer, left_core = torch.linalg.qr(left)
    inner, right_core = torch.linalg.qr(right.T)
    u, values, vh = torch.linalg.svd(left_core @ right_core.T, full_matrices=False)
    rank = int((values > rtol * values.max()).sum())
    root = values[:rank].sqrt()
    return LowRank(outer @ (u[:, :rank] * root), (root[:, None] * vh[:rank]) @ inner.T)
