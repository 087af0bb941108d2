"""A low-rank change of each weight, with factors of its own, while it is learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sepme.core.dense_shift import DenseShift


@dataclass(frozen=True, slots=True, eq=False)
class Adapters:
    """``dW_l = A_l B_l`` with both factors as parameters, as in LoRA.

    Attributes:
        left: Site to ``A_l``, ``(d_out, rank)``.
        right: Site to ``B_l``, ``(rank, d_in)``.
    """

    left: Mapping[str, Tensor]
    right: Mapping[str, Tensor]

    @classmethod
    def zeros(cls, sites: Mapping[str, Tensor], *, rank: int, seed: int) -> Adapters:
        """No change at all: ``A_l`` is zero, ``B_l`` random with variance ``1 / rank^2``."""
        generator = torch.Generator().manual_seed(seed)
        left, right = {}, {}
        for site, weight in sites.items():
            out, width = weight.shape
            drawn = torch.randn(rank, width, generator=generator) / rank
            left[site] = torch.zeros(out, rank, device=weight.device, requires_grad=True)
            right[site] = drawn.to(weight.device).requires_grad_()
        return cls(left, right)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Both factors of every site."""
        lefts = {f"{site}.left": factor for site, factor in self.left.items()}
        return lefts | {f"{site}.right": factor for site, factor in self.right.items()}

    def deltas(self) -> dict[str, Tensor]:
        """The change of every site, ``(d_out, d_in)``, differentiable."""
        return {site: factor @ self.right[site] for site, factor in self.left.items()}

    def payload(self) -> DenseShift:
        """What has been learned so far."""
        return DenseShift({site: change.detach() for site, change in self.deltas().items()})
