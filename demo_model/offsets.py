"""Weights as 8-bit offsets from other weights: half the size of float16."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_SCALE = "scale."


def pack(weights: Mapping[str, Tensor], trunk: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The offset of some weights from the trunk's, 8 bits a number.

    Args:
        weights: Weights by name.
        trunk: The trunk's, same names and shapes.

    Returns:
        Whole numbers from -127 to 127 by name, and ``scale.`` by name: what one of them is worth,
        for each row of a matrix or kernel, float16.
    """
    packed = {}
    for name, weight in weights.items():
        offset = weight.float() - trunk[name].float()
        largest = offset.abs().reshape(len(offset), -1).amax(1)
        scale = (largest / 127).clamp(min=torch.finfo(torch.float16).tiny).half()
        packed[_SCALE + name] = scale
        worth = scale.float().view(-1, *[1] * (offset.ndim - 1))
        packed[name] = (offset / worth).round().clamp(-127, 127).to(torch.int8)
    return packed


def unpack(packed: Mapping[str, Tensor], trunk: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights from what `pack` made of them, in float16 like the demo model's own.

    Args:
        packed: As `pack` returned.
        trunk: The trunk's weights.

    Returns:
        Weights by name.
    """
    names = [name for name in packed if not name.startswith(_SCALE)]
    return {
        name: (
            trunk[name].float()
            + packed[name].float()
            * packed[_SCALE + name].float().view(-1, *[1] * (packed[name].ndim - 1))
        ).half()
        for name in names
    }
