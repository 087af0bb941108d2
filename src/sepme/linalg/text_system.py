"""One linear system in text space from which the map of every concept comes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from sepme.errors import MethodError
from sepme.linalg.low_rank import LowRank
from sepme.linalg.wide import finite64


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """The sufficient statistics of one concept: few rows that stand for all of its rows.

    Attributes:
        rows: ``E``, ``(p, d)``, float64; ``E^T E`` is that of all rows the concept has.
        moves: ``G``, ``(p, d)``, float64; ``E^T G`` is that of all rows and where each is to go,
            relative to where it is.
    """

    rows: Tensor
    moves: Tensor

    def weighted(self, weight: float) -> Moments:
        """The moments of every row taken ``weight`` times, ``weight`` at least 0."""
        return Moments(weight**0.5 * self.rows, weight**0.5 * self.moves)


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
    wide, wanted = (finite64(part) for part in (rows, moves))
    left, sizes, right = torch.linalg.svd(wide, full_matrices=False)
    count = int((sizes > rtol * sizes.max()).sum()) if len(sizes) else 0
    kept = min(count, most) if most else count
    return Moments(sizes[:kept, None] * right[:kept], left[:, :kept].T @ wanted)


@dataclass(frozen=True, eq=False)
class TextSystem:
    """``S = lam I + sum_j E_j^T E_j`` over everything that is known, factorised once.

    The map of a concept ``k`` is the ``M_k`` that minimises ``|E_k M^T - G_k|^2 + sum_{j != k}
    |E_j M^T|^2 + lam |M|^2``: it sends the concept's rows where they are to go and leaves the
    others where they are. All maps share the system, ``M_k^T = S^-1 E_k^T G_k``, and the sum of
    some of them is the solution for these concepts at once, the rest being left alone. So maps are
    separable as far as the system can tell concepts apart, and giving one back is leaving its map
    out.

    Systems are immutable. What joins or leaves changes ``S`` by a term of low rank.

    Attributes:
        second: ``S``, ``(r, r)``, float64, positive definite.
        basis: Orthonormal rows ``(r, d)`` that maps may read, if there are hard constraints: every
            row orthogonal to them is left alone exactly. None for all of text space.

    Example:
        >>> cat = pooled(torch.tensor([[2.0, 0.0]]), torch.tensor([[-2.0, 1.0]]))
        >>> dog = pooled(torch.tensor([[0.0, 3.0]]), torch.zeros(1, 2))
        >>> TextSystem.of([cat, dog], lamb=1e-9).map(cat).dense().round(decimals=6) + 0.0
        tensor([[-1.0000,  0.0000],
                [ 0.5000,  0.0000]], dtype=torch.float64)
    """

    second: Tensor
    basis: Tensor | None = None

    @classmethod
    def of(
        cls, known: Iterable[Moments], *, lamb: float, basis: Tensor | None = None
    ) -> TextSystem:
        """The system of everything that is known.

        Args:
            known: Moments of everything to erase or to leave alone, at least one row in all.
            lamb: ``lam``, weight of a small map, above 0 (squared row norms).
            basis: As the attribute.

        Returns:
            The system.
        """
        rows = torch.cat([moments.rows for moments in known])
        inner = rows if basis is None else rows @ basis.T
        return cls(inner.T @ inner + lamb * torch.eye(inner.shape[1], dtype=inner.dtype), basis)

    def plus(self, moments: Moments, weight: float = 1.0) -> TextSystem:
        """The system with more that is known, or with a concept weighted differently.

        Args:
            moments: Whose; they may be in the system already, if their weight is to change.
            weight: How often to add them; below 0 takes away what is in the system.

        Returns:
            Another system, equal up to rounding to one made of everything anew.
        """
        inner = self._read(moments.rows)
        return replace(self, second=self.second + weight * (inner.T @ inner))

    @cached_property
    def triangle(self) -> Tensor:
        """``L`` with ``L L^T = S``.

        Raises:
            MethodError: If the system is not positive definite in float64.
        """
        found, failed = torch.linalg.cholesky_ex(self.second)
        if failed:
            raise MethodError(
                "the text system cannot be solved: it is not positive definite in float64. Try a "
                "larger lamb, and take away only what the system holds."
            )
        triangle: Tensor = found
        return triangle

    def map(self, concept: Moments, *, rank: int = 0, rtol: float = 1e-7) -> LowRank:
        """The map of one concept, or the best one of a lower rank.

        Best is nearest in what it does to the rows of the system, ``|(M - M_k) L|``: by the
        singular value decomposition of ``M_k L``.

        Args:
            concept: Its moments, which the system holds too.
            rank: Largest rank; 0 for any.
            rtol: Singular values below this share of the largest are dropped (dimensionless).

        Returns:
            Balanced factors ``(d, r)`` and ``(r, d)``, float64.
        """
        half = torch.linalg.solve_triangular(self.triangle, self._read(concept.rows).T, upper=False)
        outer, first = torch.linalg.qr(concept.moves.T)
        inner, second = torch.linalg.qr(half)
        left, sizes, right = torch.linalg.svd(first @ second.T, full_matrices=False)
        count = int((sizes > rtol * sizes.max()).sum())
        kept = min(count, rank) if rank else count
        reads = torch.linalg.solve_triangular(
            self.triangle.T, inner @ right[:kept].T, upper=True
        ).T  # fmt: skip
        scale = (torch.linalg.vector_norm(reads, dim=1) / sizes[:kept]).sqrt()
        factors = (outer @ left[:, :kept]) * sizes[:kept] * scale, reads / scale[:, None]
        return LowRank(factors[0], factors[1] if self.basis is None else factors[1] @ self.basis)

    def together(self, concepts: Iterable[Moments]) -> Tensor:
        """The sum of the maps of some concepts, by one solve whatever their number.

        Args:
            concepts: Their moments, which the system holds too; at least one.

        Returns:
            ``(d, d)``, float64.
        """
        chosen = tuple(concepts)
        rows = torch.cat([self._read(each.rows) for each in chosen])
        moves = torch.cat([each.moves for each in chosen])
        solved = torch.cholesky_solve(rows.T @ moves, self.triangle).T
        return solved if self.basis is None else solved @ self.basis

    def _read(self, rows: Tensor) -> Tensor:
        return rows if self.basis is None else rows @ self.basis.T
