"""The closed form that maps some text embeddings to others and nearly keeps the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from sepme.errors import MethodError
from sepme.linalg.low_rank import LowRank, compress


def text_map(
    targets: Tensor,
    anchors: Tensor,
    retained: Tensor,
    *,
    erase_scale: float = 1.0,
    preserve_scale: float = 1.0,
    lamb: float = 0.5,
    rtol: float = 1e-13,
) -> LowRank:
    """Low-rank ``M`` with which ``W + W M`` is the closed-form edit of UCE, whatever ``W`` is.

    With targets ``c``, anchors ``c*`` and retained rows ``r``, UCE gives every weight the ``W'``
    that minimises ``s_e sum |W'c - W c*|^2 + s_p sum |W'r - W r|^2 + lam |W' - W|^2``. Since the
    wanted value ``W c*`` is linear in ``W``, that is ``W' = W (I + M)`` with one
    ``M = s_e sum (c* - c) c^T (lam I + s_e sum c c^T + s_p sum r r^T)^-1`` for all weights.

    Args:
        targets: Rows to move, ``(n, d)``, any floating dtype.
        anchors: Where each of them is to go, ``(n, d)``.
        retained: Rows to keep where they are, ``(m, d)``; ``m`` may be 0.
        erase_scale: ``s_e``, above 0 (dimensionless).
        preserve_scale: ``s_p``, at least 0 (dimensionless).
        lamb: ``lam``, weight of leaving every direction alone, above 0 (squared row norms).
        rtol: Singular values of ``M`` below ``rtol * s_max`` are dropped (dimensionless).

    Returns:
        Balanced factors ``(d, k)`` and ``(k, d)``, float64, on the CPU, with ``k`` at most ``n``.

    Raises:
        MethodError: If a number is not finite, or the system cannot be solved.

    Example:
        >>> here, there = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 3.0]])
        >>> found = text_map(here, there, torch.zeros(0, 2), lamb=1.0)
        >>> here + here @ found.dense().float().T  # nine tenths of the way
        tensor([[0.3000, 2.7000]])
    """
    rows, goals, kept = (_float64(part) for part in (targets, anchors, retained))
    weighted = torch.cat([erase_scale**0.5 * rows, preserve_scale**0.5 * kept])
    right = erase_scale**0.5 * _ridge(weighted, lamb)[: len(rows)]
    return compress([LowRank((goals - rows).T, right)], rtol=rtol)


def _ridge(rows: Tensor, lamb: float) -> Tensor:
    """``F (lam I + F^T F)^-1``, equal to ``(lam I + F F^T)^-1 F``: the smaller of two systems."""
    count, width = rows.shape
    few = count <= width
    gram = rows @ rows.T if few else rows.T @ rows
    system = gram + lamb * torch.eye(len(gram), dtype=rows.dtype)
    triangle, failed = torch.linalg.cholesky_ex(system)
    if failed:
        raise MethodError(
            f"the text map cannot be solved with lamb {lamb:g}: the system is not positive "
            "definite in float64. Try a larger lamb."
        )
    if few:
        return torch.cholesky_solve(rows, triangle)
    return torch.cholesky_solve(rows.T, triangle).T


def _float64(rows: Tensor) -> Tensor:
    wide = rows.detach().to("cpu", torch.float64)
    if not torch.isfinite(wide).all():
        raise MethodError("the text embeddings hold numbers that are not finite.")
    return wide
