"""Quantisation: rounding may wash away a change that is small beside the weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sepme.attacks._weights import WeightVariants
from sepme.core.attack import Subject, Trial
from sepme.errors import SpecError, shown


def fake_quantise(weight: Tensor, bits: int) -> Tensor:
    """Round a weight to few levels, symmetric about 0, each output channel on its own scale.

    ``s round(w / s)`` with ``s = max|w| / (2^(bits - 1) - 1)`` over the channel.

    Args:
        weight: ``(out, ...)``, any floating dtype.
        bits: 2 or more.

    Returns:
        Same shape and dtype, at most ``2^bits - 1`` values a channel.

    Example:
        >>> fake_quantise(torch.tensor([[7.0, 2.4, -0.4], [0.0, 0.0, 0.0]]), bits=4)
        tensor([[7., 2., -0.],
                [0., 0., 0.]])
    """
    largest = weight.abs().amax(tuple(range(1, weight.ndim)), keepdim=True)
    scale = largest / (2 ** (bits - 1) - 1)
    return torch.where(scale > 0, (weight / scale).round() * scale, weight)


@dataclass(frozen=True, kw_only=True)
class Quantise(WeightVariants):
    """Round every matrix and kernel of the erased U-Net to 8 and to 4 bits.

    Args:
        bits: Widths to try, in this order.

    Raises:
        SpecError: If a width is below 2, or there is none.

    Example:
        >>> Quantise().bits, Quantise().cheap
        ((8, 4), True)
    """

    name: ClassVar[str] = "quantise"
    paper: ClassVar[str] = "https://arxiv.org/abs/2410.16454"
    cheap: ClassVar[bool] = True
    budget: ClassVar[int] = 2

    bits: tuple[int, ...] = (8, 4)

    def __post_init__(self) -> None:
        """Check the widths."""
        if not self.bits or min(self.bits) < 2:
            raise SpecError(f"bits must be widths of 2 or more, got {shown(self.bits)}.")

    def _copies(self, trial: Trial, count: int, seed: int) -> Iterator[tuple[float, Subject]]:
        for width in self.bits[:count]:
            unet = copy.deepcopy(trial.subject.unet)
            for weight in unet.parameters():
                if weight.ndim > 1:
                    weight.data = fake_quantise(weight.data, width)
            yield float(width), trial.subject.with_unet(unet)
