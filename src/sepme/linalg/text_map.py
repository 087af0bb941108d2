"""Closed forms in text space: maps of some embeddings to others, and what evades such a map."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from sepme.errors import MethodError
from sepme.linalg.low_rank import LowRank, compress
from sepme.linalg.wide import finite64

RTOL_FLOAT32 = 1e-7
"""What is left of a text map below this share of its largest singular value is lost in float32."""


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
    rows, goals, kept = (finite64(part) for part in (targets, anchors, retained))
    weighted = torch.cat([erase_scale**0.5 * rows, preserve_scale**0.5 * kept])
    right = erase_scale**0.5 * _ridge(weighted, lamb)[: len(rows)]
    return compress([LowRank((goals - rows).T, right)], rtol=rtol)


def text_gram(weights: Iterable[Tensor]) -> Tensor:
    """``G = sum_l W_l^T W_l``: all that a least-squares problem over the sites needs of them.

    Args:
        weights: At least one; all ``(d_out, d_text)`` with one ``d_text``.

    Returns:
        ``(d_text, d_text)``, float64, on the CPU.

    Example:
        >>> text_gram([torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 1.0]])])
        tensor([[1., 2.],
                [2., 5.]], dtype=torch.float64)
    """
    wide = [finite64(weight) for weight in weights]
    return torch.stack([weight.T @ weight for weight in wide]).sum(0)


def adversarial_rows(rows: Tensor, gram: Tensor, change: LowRank, *, lamb: float) -> Tensor:
    """Rows from which edited weights give nearly what the originals gave from ``rows``.

    For each row ``e`` the minimum over ``e'`` of ``sum_l |W_l T e' - W_l e|^2 + lamb |e'|^2`` with
    ``T = I + change`` (RECE): ``e' = X e`` with ``X = (lamb I + T^T G T)^-1 T^T G``, so that the
    sum over the sites is one matrix ``G``.

    Args:
        rows: Rows to evade the edit for, ``(n, d)``, any floating dtype.
        gram: ``G``, ``(d, d)``, as `text_gram` gives it.
        change: The edit, ``T - I``.
        lamb: Weight of small adversarial rows, above 0.

    Returns:
        ``(n, d)``, float64, on the CPU.

    Raises:
        MethodError: If a number is not finite, or the system cannot be solved.

    Example:
        >>> halved = LowRank(-0.5 * torch.eye(2), torch.eye(2))
        >>> adversarial_rows(torch.ones(1, 2), torch.eye(2), halved, lamb=0.25).round(decimals=6)
        tensor([[1., 1.]], dtype=torch.float64)
    """
    wide, inner = finite64(rows), finite64(gram)
    edit = torch.eye(wide.shape[1], dtype=torch.float64) + change.dense()
    system = edit.T @ inner @ edit + lamb * torch.eye(len(edit), dtype=torch.float64)
    found: Tensor = torch.cholesky_solve((wide @ inner @ edit).T, _cholesky(system, lamb)).T
    return found


def chained(first: LowRank, then: LowRank, *, rtol: float = 1e-13) -> LowRank:
    """``(I + first)(I + then) - I``: an edit of weights that ``first`` has edited already.

    Args:
        first: ``(d, r)`` and ``(r, d)``.
        then: ``(d, s)`` and ``(s, d)``.
        rtol: As for `text_map`.

    Returns:
        Balanced factors in float64 on the CPU, of rank at most ``r + s``.

    Example:
        >>> doubled = LowRank(torch.eye(2), torch.eye(2))
        >>> chained(doubled, doubled).dense().diagonal().round(decimals=6)
        tensor([3., 3.], dtype=torch.float64)
    """
    left, right = (part.to("cpu", torch.float64) for part in first)
    added, row = (part.to("cpu", torch.float64) for part in then)
    return compress([LowRank(left, right), LowRank(added + left @ (right @ added), row)], rtol=rtol)


def _ridge(rows: Tensor, lamb: float) -> Tensor:
    """``F (lam I + F^T F)^-1``, equal to ``(lam I + F F^T)^-1 F``: the smaller of two systems."""
    count, width = rows.shape
    few = count <= width
    gram = rows @ rows.T if few else rows.T @ rows
    system = gram + lamb * torch.eye(len(gram), dtype=rows.dtype)
    triangle = _cholesky(system, lamb)
    if few:
        return torch.cholesky_solve(rows, triangle)
    return torch.cholesky_solve(rows.T, triangle).T


def _cholesky(system: Tensor, lamb: float) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(system)
    if failed:
        raise MethodError(
            f"the text map cannot be solved with lamb {lamb:g}: the system is not positive "
            "definite in float64. Try a larger lamb."
        )
    triangle: Tensor = factor
    return triangle
