"""Rotations that turn some directions away and leave the others nearly where they are."""

from __future__ import annotations

import torch
from torch import Tensor

from sepme.errors import MethodError


def span(rows: Tensor, *, rtol: float = 1e-6) -> Tensor:
    """Orthonormal basis of the span of rows, each taken at unit length.

    Reveals the rank: repeated or dependent rows add no direction, as a plain QR would.

    Args:
        rows: ``(n, d)``, at least one, any floating dtype.
        rtol: Singular values below ``rtol * s_max`` count as zero (dimensionless).

    Returns:
        ``(k, d)``, float64, on the CPU, with ``k`` at most ``n``.

    Raises:
        MethodError: If a number is not finite, or every row is zero.

    Example:
        >>> span(torch.tensor([[2.0, 0.0], [2.0, 0.0]])).abs()
        tensor([[1., 0.]], dtype=torch.float64)
    """
    wide = rows.detach().to("cpu", torch.float64)
    if not torch.isfinite(wide).all() or not wide.any():
        raise MethodError("rows to span a subspace must be finite and not all zero.")
    unit = torch.nn.functional.normalize(wide, dim=1)
    _, values, directions = torch.linalg.svd(unit, full_matrices=False)
    basis: Tensor = directions[values > rtol * values.max()]
    return basis


def nearest_rotation(matrix: Tensor) -> Tensor:
    """The rotation ``R`` of determinant 1 with the largest ``trace(R^T matrix)``.

    ``U V^T`` of the singular value decomposition, with the sign of the direction of the smallest
    singular value changed if that were a reflection (orthogonal Procrustes problem).

    Args:
        matrix: ``(d, d)``, any floating dtype.

    Returns:
        ``(d, d)``, float64, on the CPU.

    Raises:
        MethodError: If a number is not finite.

    Example:
        >>> nearest_rotation(torch.tensor([[0.0, -3.0], [2.0, 0.0]])).round()
        tensor([[ 0., -1.],
                [ 1.,  0.]], dtype=torch.float64)
    """
    wide = matrix.detach().to("cpu", torch.float64)
    if not torch.isfinite(wide).all():
        raise MethodError("the matrix to rotate towards holds numbers that are not finite.")
    u, _, vh = torch.linalg.svd(wide)
    if torch.linalg.det(u @ vh) < 0:
        u[:, -1] = -u[:, -1]
    rotation: Tensor = u @ vh
    return rotation
