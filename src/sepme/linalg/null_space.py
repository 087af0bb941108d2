"""The directions of text space that listed prompts do not use, and what a concept has there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sepme.errors import MethodError, NotSeparable, NullSpaceExhausted
from sepme.linalg.wide import finite64, float64

_CHUNK_ROWS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class NullSpace:
    """Directions that no listed embedding uses.

    Attributes:
        basis: Orthonormal rows, ``(r, d_text)``, float64, on the CPU.
        rank: Dimensions the listed embeddings do use, ``d_text - r``.
        rtol: Relative tolerance the rank was cut at (dimensionless).
        leak: Largest ``|e . b|`` over listed rows ``e`` and basis rows ``b``, relative to the
            largest row norm (dimensionless); what "zero" amounts to.
    """

    basis: Tensor
    rank: int
    rtol: float
    leak: float

    def project(self, rows: Tensor) -> Tensor:
        """Part of each row that lies in the space.

        Args:
            rows: ``(..., d_text)``.

        Returns:
            Same shape, float64, on the CPU.
        """
        projected: Tensor = float64(rows) @ self.basis.T @ self.basis
        return projected


def null_space(embeddings: Tensor, *, rtol: float = 1e-6) -> NullSpace:
    """Orthonormal basis of the directions no listed embedding uses.

    Every basis row ``b`` has ``embeddings @ b = 0``, so a shift built on the rows leaves those
    prompts' keys and values unchanged (SRS-ME, weight decoupling, eq. 22-25). Singular values
    come from the embeddings themselves, in float64: a Gram matrix would square them and lose
    half of the digits. Many rows are first folded into one triangle, block by block.

    Args:
        embeddings: Token embeddings to leave alone, ``(..., d_text)``, any floating dtype.
        rtol: Singular values below ``rtol * s_max`` count as zero (dimensionless, 0 to 1).

    Returns:
        The basis, its rank and the measured leak.

    Raises:
        NullSpaceExhausted: If the embeddings span the whole text space.
        MethodError: If the embeddings are not finite.

    Example:
        >>> space = null_space(torch.tensor([[3.0, 0.0, 0.0], [5.0, 0.0, 0.0]]))
        >>> space.rank, space.basis.shape
        (1, torch.Size([2, 3]))
    """
    rows = _rows(embeddings)
    triangle = folded(rows)
    _, values, directions = torch.linalg.svd(triangle, full_matrices=True)
    rank = int((values > rtol * values.max()).sum()) if len(values) else 0
    basis = directions[rank:]
    if not len(basis):
        raise NullSpaceExhausted(
            f"the {len(rows)} embedding rows to leave alone span all {rows.shape[1]} dimensions of "
            f"the text space (rtol {rtol:g}), so no direction is left to act in. "
            "Retain fewer concepts or fewer prompts for each."
        )
    return NullSpace(basis, rank, rtol, _leak(rows, basis))


def private_directions(target_rows: Tensor, space: NullSpace, *, energy: float = 1.0) -> Tensor:
    """Orthonormal directions of the null space along which a target actually moves.

    A loss that sees a shift only through ``A S e(c)^T`` has all of its gradient in the span of
    the target's own rows projected into the null space, so a shift ``A D`` on these few rows
    reaches the same loss as one on the full basis, with a smaller norm.

    Args:
        target_rows: Token embeddings of the target's prompts, ``(..., d_text)``.
        space: Null space of everything the target must not touch.
        energy: Fraction of the projected rows' squared norm to keep, in (0, 1].

    Returns:
        Rows ``(k, d_text)``, float64, by falling energy; ``k`` is at most the number of rows.

    Raises:
        NotSeparable: If the target has nothing of its own above the space's tolerance.
        MethodError: If ``energy`` is out of range or the rows are not finite.

    Example:
        >>> space = null_space(torch.tensor([[1.0, 0.0, 0.0]]))
        >>> private_directions(torch.tensor([[7.0, 2.0, 0.0]]), space).abs()
        tensor([[0., 1., 0.]], dtype=torch.float64)
    """
    if not 0 < energy <= 1:
        raise MethodError(f"energy must be in (0, 1], got {energy}.")
    rows = _rows(target_rows)
    _, values, directions = torch.linalg.svd(rows @ space.basis.T, full_matrices=False)
    floor = space.rtol * torch.linalg.matrix_norm(rows, ord=2)
    values = values[values > floor]
    if not len(values):
        raise NotSeparable(
            "the target's prompts lie in the span of the prompts to leave alone "
            f"(nothing above {space.rtol:g} of their size is left outside). "
            "Retain fewer prompts, or name the target by prompts of its own."
        )
    kept = values.square().cumsum(0) / values.square().sum()
    count = min(int((kept < energy).sum()) + 1, len(values))
    own: Tensor = directions[:count] @ space.basis
    return own


def separability(rows: Tensor, blank_rows: Tensor, space: NullSpace) -> float:
    """Share of what sets a concept apart from the blank prompt that the null space can see.

    ``||(e(c) - e("")) P||_F / ||e(c) - e("")||_F`` with ``P`` the projector onto the space. The
    blank is taken off first because the rows that all prompts share would dilute the ratio.

    Args:
        rows: Token embeddings of the concept's prompts, ``(..., tokens, d_text)``.
        blank_rows: Token embeddings of the blank prompt, ``(tokens, d_text)``.
        space: Null space of everything the concept must not touch.

    Returns:
        Fraction between 0 (cannot be told apart) and 1 (shares nothing with what is retained).

    Example:
        >>> space = null_space(torch.tensor([[1.0, 0.0]]))
        >>> separability(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0]]), space)
        0.8
    """
    own = float64(rows) - float64(blank_rows)
    size = torch.linalg.vector_norm(own)
    return float(torch.linalg.vector_norm(space.project(own)) / size) if size > 0 else 0.0


def folded(rows: Tensor) -> Tensor:
    """At most ``d`` rows with the singular values and the row space of many.

    Args:
        rows: ``(n, d)``, float64.

    Returns:
        The rows themselves if ``n`` is at most ``d``, else the triangle of their QR decomposition,
        made block by block.

    Example:
        >>> folded(torch.ones(8, 2).double()).abs().round()
        tensor([[3., 3.],
                [0., 0.]], dtype=torch.float64)
    """
    if len(rows) <= rows.shape[1]:
        return rows
    triangle = rows[:0]
    for chunk in torch.split(rows, _CHUNK_ROWS):
        _, triangle = torch.linalg.qr(torch.cat([triangle, chunk]), mode="r")
    return triangle


def _rows(embeddings: Tensor) -> Tensor:
    return finite64(embeddings).reshape(-1, embeddings.shape[-1])


def _leak(rows: Tensor, basis: Tensor) -> float:
    size = float(torch.linalg.vector_norm(rows, dim=1).max()) if len(rows) else 0.0
    return float((rows @ basis.T).abs().max()) / size if size > 0 else 0.0
