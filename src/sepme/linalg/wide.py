"""Tensors as closed forms need them: in float64, on the CPU, without history."""

from __future__ import annotations

import torch
from torch import Tensor

from sepme.errors import MethodError


def float64(values: Tensor) -> Tensor:
    """The values in float64 on the CPU, detached.

    Args:
        values: Any shape, any floating dtype.

    Returns:
        Same shape; the tensor itself if it is one already.

    Example:
        >>> float64(torch.ones(2, requires_grad=True))
        tensor([1., 1.], dtype=torch.float64)
    """
    return values.detach().to("cpu", torch.float64)


def finite64(rows: Tensor) -> Tensor:
    """As `float64`, but refuses rows that would spoil a closed form.

    Args:
        rows: ``(..., d)``, any floating dtype.

    Returns:
        Same shape.

    Raises:
        MethodError: If a number is not finite; the message counts the rows.

    Example:
        >>> finite64(torch.ones(1, 2))
        tensor([[1., 1.]], dtype=torch.float64)
    """
    wide = float64(rows)
    finite = torch.isfinite(wide).all(-1)
    if not finite.all():
        raise MethodError(
            f"{int((~finite).sum())} of {finite.numel()} rows of text embeddings or weights hold "
            "numbers that are not finite. Load the model in float32, or check its text encoder."
        )
    return wide
