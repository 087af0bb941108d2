"""The direction along which two groups of rows differ most for their spread."""

from __future__ import annotations

import torch
from torch import Tensor

from sepme.errors import MethodError
from sepme.linalg.wide import finite64


def discriminant(own: Tensor, other: Tensor, *, ridge: float = 1e-3) -> Tensor:
    """Regularised linear discriminant between two groups of rows (Fisher).

    ``w`` is ``(S + ridge tr(S) / d I)^-1 (m_own - m_other)`` with ``S`` the covariance around each
    group's own mean, both pooled, scaled such that ``w . (m_own - m_other) = 1``: a difference of
    scores of 1 is that of the means.

    Args:
        own: Rows ``(n, d)``, at least one, any floating dtype.
        other: Rows ``(m, d)``, at least one.
        ridge: What is added to the covariance, relative to its mean variance, above 0.

    Returns:
        ``w``, ``(d,)``, float64, on the CPU.

    Raises:
        MethodError: If a group is empty, a number is not finite, or the means are the same.

    Example:
        >>> discriminant(torch.tensor([[3.0, 1.0], [3.0, -1.0]]), torch.zeros(2, 2))
        tensor([0.3333, 0.0000], dtype=torch.float64)
    """
    groups = [finite64(rows) for rows in (own, other)]
    if not all(len(rows) for rows in groups):
        raise MethodError(
            f"a discriminant needs rows in both groups, got {len(own)} and {len(other)} rows. "
            "Give prompts that fit into the text window."
        )
    means = [rows.mean(0) for rows in groups]
    centred = torch.cat([rows - mean for rows, mean in zip(groups, means, strict=True)])
    spread = centred.T @ centred / len(centred)
    gap = means[0] - means[1]
    level = ridge * (float(spread.diagonal().mean()) or 1.0)
    found = torch.linalg.solve(spread + level * torch.eye(len(gap), dtype=gap.dtype), gap)
    size = float(found @ gap)
    if not size > 0:
        raise MethodError("two groups of rows have one mean, so no discriminant tells them apart.")
    vector: Tensor = found / size
    return vector
