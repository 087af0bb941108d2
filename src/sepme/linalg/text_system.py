"""One linear system in text space from which the map of every concept comes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from sepme.errors import MethodError
from sepme.linalg.low_rank import LowRank


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """What one concept adds to a system: few rows that stand for all of its rows.

    Attributes:
        rows: ``E``, ``(p, d)``, float64; ``E^T E`` is that of all rows the concept has.
        moves: ``G``, ``(p, d)``, float64; ``E^T G`` is that of all rows and where each is to go,
            relative to where it is.
    """

    rows: Tensor
    moves: Tensor


def pooled(rows: Tensor, moves: Tensor, *, most: int = 0, rtol: float = 1e-9) -> Moments:
    """Few rows with the same moments as many.

    With ``rows = U S V^T``, the rows ``S V^T`` have the same second moment, and with the moves
    ``U^T moves`` the same cross moment. They come by falling energy, so that the first few are the
    best stand-in for all.

    Args:
        rows: ``(n, d)``, any floating dtype.
        moves: ``(n, d)``.
        most: Rows to keep at most; 0 for all.
        rtol: Rows below this share of the largest are dropped (dimensionless).

    Returns:
        The moments.

    Raises:
        MethodError: If a number is not finite.

    Example:
        >>> found = pooled(torch.ones(8, 3), torch.zeros(8, 3))
        >>> len(found.rows), (found.rows.T @ found.rows).diagonal().round(decimals=6)
        (1, tensor([8., 8., 8.], dtype=torch.float64))
    """
    wide, wanted = (_float64(part) for part in (rows, moves))
    left, sizes, right = torch.linalg.svd(wide, full_matrices=False)
    count = int((sizes > rtol * sizes.max()).sum()) if len(sizes) else 0
    kept = min(count, most) if most else count
    return Moments(sizes[:kept, None] * right[:kept], left[:, :kept].T @ wanted)


class TextSystem:
    """``lam I + sum_j E_j^T E_j`` over everything that is known, factorised once.

    The map of a concept ``k`` is the ``M_k`` that minimises ``|E_k M^T - G_k|^2 + sum_{j != k}
    |E_j M^T|^2 + lam |M|^2``: it sends the concept's rows where they are to go and leaves the
    others where they are. All maps share the system's inverse, ``M_k^T = S^-1 E_k^T G_k``, and the
    sum of some of them is the solution for these concepts at once, the rest being left alone. So
    maps are separable as far as the system can tell concepts apart, and giving one back is
    leaving its map out.

    Args:
        known: Moments of everything to erase or to leave alone, at least one row in all.
        lamb: ``lam``, weight of a small map, above 0 (squared row norms).
        basis: Orthonormal rows ``(r, d)`` that maps may read, if there are hard constraints: every
            row orthogonal to them is left alone exactly.

    Raises:
        MethodError: If the system cannot be solved.

    Example:
        >>> cat = pooled(torch.tensor([[2.0, 0.0]]), torch.tensor([[-2.0, 1.0]]))
        >>> dog = pooled(torch.tensor([[0.0, 3.0]]), torch.zeros(1, 2))
        >>> TextSystem([cat, dog], lamb=1e-9).map(cat).dense().round(decimals=6)
        tensor([[-1.0000,  0.0000],
                [ 0.5000,  0.0000]], dtype=torch.float64)
    """

    def __init__(
        self, known: Iterable[Moments], *, lamb: float, basis: Tensor | None = None
    ) -> None:
        """Sum and factorise."""
        rows = torch.cat([moments.rows for moments in known])
        self._basis = basis
        inner = self._read(rows)
        system = inner.T @ inner + lamb * torch.eye(inner.shape[1], dtype=inner.dtype)
        self._triangle, failed = torch.linalg.cholesky_ex(system)
        if failed:
            raise MethodError(
                f"the text system cannot be solved with lamb {lamb:g}: it is not positive definite "
                "in float64. Try a larger lamb."
            )

    def map(self, concept: Moments) -> LowRank:
        """The map of one concept, ``(d, p)`` and ``(p, d)``, float64.

        Args:
            concept: Its moments, which the system was given too.
        """
        solved = torch.cholesky_solve(self._read(concept.rows).T, self._triangle).T
        right = solved if self._basis is None else solved @ self._basis
        return LowRank(concept.moves.T, right)

    def together(self, concepts: Iterable[Moments]) -> Tensor:
        """The sum of the maps of some concepts, ``(d, d)``, float64, by one solve.

        Args:
            concepts: Their moments, which the system was given too.
        """
        chosen = tuple(concepts)
        cross = sum(
            (self._read(each.rows).T @ each.moves for each in chosen[1:]),
            self._read(chosen[0].rows).T @ chosen[0].moves,
        )
        solved = torch.cholesky_solve(cross, self._triangle).T
        return solved if self._basis is None else solved @ self._basis

    def _read(self, rows: Tensor) -> Tensor:
        return rows if self._basis is None else rows @ self._basis.T


def _float64(rows: Tensor) -> Tensor:
    wide = rows.detach().to("cpu", torch.float64)
    if not torch.isfinite(wide).all():
        raise MethodError("the text embeddings hold numbers that are not finite.")
    return wide
