"""A closed form that moves embeddings inside a subspace and holds some of them fixed."""

from __future__ import annotations

import torch
from torch import Tensor

from sepme.linalg.low_rank import LowRank
from sepme.linalg.wide import finite64, float64

_RTOL = 1e-12


def quiet_directions(rows: Tensor, *, threshold: float) -> Tensor:
    """Directions in which rows have little energy, orthonormal.

    Eigenvectors of the rows' mean second moment ``(1/n) sum r r^T`` with eigenvalues below
    ``threshold``. The threshold is absolute (squared row norms), so what counts as little depends
    on the size of the embeddings and on how alike the rows are.

    Args:
        rows: ``(n, d)``, any floating dtype; ``n`` may be 0.
        threshold: Largest mean energy of a direction to return, exclusive.

    Returns:
        ``(k, d)``, float64, on the CPU; all directions if there is no row.

    Example:
        >>> quiet_directions(torch.tensor([[3.0, 0.0], [5.0, 0.1]]), threshold=0.1).abs().round()
        tensor([[0., 1.]], dtype=torch.float64)
    """
    wide = float64(rows)
    energies, directions = torch.linalg.eigh(wide.T @ wide / max(1, len(wide)))
    quiet: Tensor = directions.T[energies < threshold]
    return quiet


def null_edit(
    targets: Tensor, anchors: Tensor, basis: Tensor, fixed: Tensor, *, ridge: float, slack: float
) -> LowRank:
    """Low-rank ``M`` with which ``W + W M`` moves targets to anchors inside a subspace.

    Of all changes ``D = W M`` that read the subspace only, this one minimises
    ``mean |(W + D) c - W c*|^2 + ridge |D|^2`` over targets ``c`` and anchors ``c*``, under
    ``D k = 0`` for every fixed row ``k``; with a slack, plus ``(1 / slack) sum |D k|^2`` instead
    (SPEED). ``M`` does not depend on ``W``.

    Args:
        targets: Rows to move, ``(n, d)``, any floating dtype.
        anchors: Where each of them is to go, ``(n, d)``.
        basis: Orthonormal rows of the subspace, ``(k, d)``.
        fixed: Rows that must not move, ``(f, d)``; ``f`` may be 0.
        ridge: Weight of a small change, above 0 (squared row norms).
        slack: How soft fixing is, at least 0; 0 fixes exactly.

    Returns:
        Factors ``(d, n)`` and ``(n, d)``, float64, on the CPU.

    Raises:
        MethodError: If a number is not finite.

    Example:
        >>> here, there = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 0.0]])
        >>> found = null_edit(here, there, torch.eye(2), here[:0], ridge=1e-9, slack=0.0)
        >>> (here + here @ found.dense().float().T).round(decimals=4)
        tensor([[0., 0.]])
    """
    here, there, space, held = (finite64(part) for part in (targets, anchors, basis, fixed))
    inside = here @ space.T
    system = inside.T @ inside / len(here) + ridge * torch.eye(len(space), dtype=torch.float64)
    factor = torch.linalg.cholesky(system)
    white = torch.linalg.solve_triangular(factor, space, upper=False)
    row = here @ white.T
    if len(held):
        u, values, _ = torch.linalg.svd(white @ held.T, full_matrices=False)
        energy = values.square()
        share = torch.where(values > _RTOL * values.max(), energy / (energy + slack), 0.0)
        row = row - (row @ u) * share @ u.T
    return LowRank((there - here).T / len(here), row @ white)
