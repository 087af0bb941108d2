"""How much of a concept's noise representation a changed model still shows."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor

Unit: TypeAlias = Literal["batch", "sample", "channel"]
"""What is decorrelated by itself."""

UNITS: tuple[Unit, ...] = ("batch", "sample", "channel")

_AXES = {"sample": (1, 2, 3), "channel": (2, 3)}


def correlation(
    changed: Tensor, original: Tensor, unit: Unit = "batch", *, reversal: float = 0.0
) -> Tensor:
    """Correlation of a concept's representation with the original one.

    For ``"batch"`` the mean product over everything (SRS-ME, eq. 28), a number in the units of the
    noise squared that may fall below zero. One large part of it can then hide a small one: the
    mean is down as soon as an object's outline is reversed, while the colour of its style, with
    less power, is still there. For ``"sample"`` and ``"channel"`` each sample, or each channel of
    each, is one unit: its mean product in shares of the original's own mean square, 1 for the
    original model, 0 once nothing is left, below 0 once it is reversed. A unit counts no less than
    ``-reversal``: from there on it has no gradient and hides no more of what is left elsewhere.

    Args:
        changed: ``r_c`` of the changed model, ``(n, channels, height, width)``.
        original: ``r_c`` of the original model, same shape.
        unit: What is decorrelated by itself.
        reversal: How far below zero a sample or channel may count.

    Returns:
        A differentiable scalar.

    Example:
        >>> import torch
        >>> original = torch.ones(1, 2, 4, 4)
        >>> original[:, 0] *= 3
        >>> changed = original * torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)
        >>> [correlation(changed, original, unit).item() for unit in UNITS]
        [-4.0, 0.0, 0.5]
        >>> correlation(changed, original, "channel", reversal=0.5).item()
        0.25
    """
    product = changed * original
    if unit == "batch":
        return product.mean()
    axes = _AXES[unit]
    return (product.mean(axes) / original.square().mean(axes)).clamp(min=-reversal).mean()
