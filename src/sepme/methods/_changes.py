"""Shifts while they are learned: what is a parameter, and what becomes of it at every site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from sepme.core.dense_shift import DenseShift
from sepme.core.payload import Payload, SiteShift
from sepme.core.text_shift import TextShift
from sepme.linalg.low_rank import LowRank

Deltas: TypeAlias = Mapping[str, Tensor]
"""Site to its change, ``(d_out, d_in)``."""

TEXT = "text"
"""Name of a parameter that is no site's own."""


class Change(Protocol):
    """A shift while it is learned."""

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """What is learned, by site."""

    def deltas(self) -> dict[str, Tensor]:
        """The change of every site, differentiable in the parameters."""

    def payload(self) -> Payload:
        """What has been learned so far."""


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """A change inside a null space: ``dW_l = beta A_l D``, with the ``A_l`` as parameters."""

    scale: float
    directions: Tensor
    parameters: Mapping[str, Tensor]

    @classmethod
    def of(
        cls,
        sites: Mapping[str, Tensor],
        directions: Tensor,
        scale: float,
        start: LowRank | None = None,
    ) -> Factors:
        """The change before the first step, in float32 beside the sites' weights.

        Args:
            sites: Site to pristine weight, ``(d_out, d_text)``.
            directions: ``D``, ``(r, d_text)``, orthonormal rows.
            scale: ``beta``.
            start: A map of text space to begin with, as far as it reads the directions; None for
                no change at all.
        """
        device = next(iter(sites.values())).device
        shared = directions.to(device, torch.float32)
        begun = None if start is None else _core(start, shared) / scale
        parameters = {
            site: torch.zeros(len(weight), len(shared), device=device)
            if begun is None
            else weight.detach().float() @ begun
            for site, weight in sites.items()
        }
        return cls(scale, shared, {site: a.requires_grad_() for site, a in parameters.items()})

    def deltas(self) -> dict[str, Tensor]:
        """The change of every site, ``(d_out, d_text)``, differentiable."""
        return {s: self.scale * a @ self.directions for s, a in self.parameters.items()}

    def payload(self) -> SiteShift:
        """What has been learned so far."""
        learned = {s: self.scale * a.detach() for s, a in self.parameters.items()}
        return SiteShift(self.directions, learned)


@dataclass(frozen=True, slots=True, eq=False)
class TextFactors:
    """One change of text space for all sites: ``dW_l = W_l beta A D``, ``A`` being the parameter.

    ``beta`` is the scale over the root mean square of the norms of all rows of the ``W_l``, so that
    a step of ``A`` changes the weights about as much as a step of the ``A_l`` of `Factors` does.
    """

    scale: float
    directions: Tensor
    weights: Mapping[str, Tensor]
    parameters: Mapping[str, Tensor]

    @classmethod
    def of(
        cls,
        sites: Mapping[str, Tensor],
        directions: Tensor,
        scale: float,
        start: LowRank | None = None,
    ) -> TextFactors:
        """The change before the first step, in float32 beside the sites' weights.

        Args:
            sites: As for `Factors.of`, and so are the rest.
            directions: ``D``, ``(r, d_text)``, orthonormal rows.
            scale: Numerator of ``beta``.
            start: What to begin with.
        """
        weights = {site: weight.detach().float() for site, weight in sites.items()}
        first = next(iter(weights.values()))
        shared = directions.to(first)
        norms = torch.cat([weight.square().sum(1) for weight in weights.values()])
        beta = scale / float(norms.mean().sqrt())
        begun = (
            torch.zeros(first.shape[1], len(shared), device=first.device)
            if start is None
            else _core(start, shared) / beta
        )
        return cls(beta, shared, weights, {TEXT: begun.requires_grad_()})

    def deltas(self) -> dict[str, Tensor]:
        """The change of every site, ``(d_out, d_text)``, differentiable."""
        change = self.scale * self.parameters[TEXT] @ self.directions
        return {site: weight @ change for site, weight in self.weights.items()}

    def payload(self) -> TextShift:
        """What has been learned so far."""
        learned = self.scale * self.parameters[TEXT].detach()
        return TextShift(learned, self.directions, tuple(self.weights))


@dataclass(frozen=True, slots=True, eq=False)
class Matrices:
    """A change of every number of a weight: the ``dW_l`` themselves are the parameters."""

    parameters: Mapping[str, Tensor]

    @classmethod
    def zeros(cls, sites: Mapping[str, Tensor]) -> Matrices:
        """No change at all, in float32 beside the sites' weights."""
        return cls(
            {
                site: torch.zeros_like(weight, dtype=torch.float32, requires_grad=True)
                for site, weight in sites.items()
            }
        )

    def deltas(self) -> dict[str, Tensor]:
        """The change of every site, ``(d_out, d_in)``, differentiable."""
        return dict(self.parameters)

    def payload(self) -> DenseShift:
        """What has been learned so far."""
        return DenseShift(self.parameters)


def _core(change: LowRank, directions: Tensor) -> Tensor:
    """What a map of text space makes of each direction, ``(d_text, r)``."""
    left, right = (part.to(directions) for part in change)
    return left @ (right @ directions.T)
