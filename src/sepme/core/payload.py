"""The additive values a shift can carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Protocol

from torch import Tensor

from sepme.core.adapter_guard import AdapterGuard
from sepme.core.bottleneck_guard import BottleneckGuard
from sepme.core.dense_shift import DenseShift
from sepme.core.factor_shift import FactorShift
from sepme.core.factors import by_site, owned_matrix, unprefixed
from sepme.core.gated_guard import GatedGuard
from sepme.core.negative_guard import NegativeGuard
from sepme.core.sparse_shift import SparseShift
from sepme.core.surgery_guard import SurgeryGuard
from sepme.core.text_shift import TextShift
from sepme.core.value_guard import ValueGuard
from sepme.errors import MethodError, shown
from sepme.linalg.low_rank import LowRank

_FACTORS = "factors."


class Payload(Protocol):
    """An additive change of some weights: the only thing composition knows of a shift.

    Another kind of payload is one class with these members and one row in `PAYLOADS`.
    """

    kind: ClassVar[str]

    @property
    def sites(self) -> tuple[str, ...]:
        """Module paths of the weights it changes, sorted."""

    def delta(self, site: str, base: Tensor) -> Tensor:
        """The change of one weight: of its shape, float64, on the CPU.

        Args:
            site: One of `sites`.
            base: The pristine weight.
        """

    def tensors(self) -> dict[str, Tensor]:
        """Everything it stores, by name; `from_tensors` is the inverse."""

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Payload:
        """Rebuild it from named tensors.

        Args:
            tensors: What `tensors` returned, perhaps from an untrusted file.

        Raises:
            MethodError: If the names, shapes, dtypes or values do not fit.
        """


@dataclass(frozen=True, eq=False)
class SiteShift:
    """One low-rank change per text site, all reading the same directions of text space.

    Site ``l`` changes by ``dW_l = A_l D`` (SRS-ME, eq. 26). The tensors are copied, so that what
    the caller does to its own later changes nothing here.

    Attributes:
        directions: ``D``, ``(r, d_text)``, float32.
        factors: Module path of a site to its ``A_l``, ``(d_out, r)``, float32.

    Raises:
        MethodError: If a name, shape or dtype does not fit.
        Diverged: If a number is not finite.

    Example:
        >>> import torch
        >>> shift = SiteShift(torch.eye(1, 3), {"to_k": torch.ones(2, 1)})
        >>> shift.delta("to_k", torch.zeros(2, 3))
        tensor([[1., 0., 0.],
                [1., 0., 0.]], dtype=torch.float64)
    """

    kind: ClassVar[str] = "site"
    directions: Tensor
    factors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        """Check and copy every tensor."""
        directions, factors = owned_matrix("directions", self.directions), by_site(self.factors)
        rank = len(directions)
        for site, factor in factors.items():
            if factor.shape[1] != rank:
                raise MethodError(
                    f"site {site!r} needs a factor with {rank} columns, one per direction, "
                    f"got shape {tuple(factor.shape)}."
                )
        object.__setattr__(self, "directions", directions)
        object.__setattr__(self, "factors", MappingProxyType(factors))

    @property
    def sites(self) -> tuple[str, ...]:
        """Module paths of the weights it changes, sorted."""
        return tuple(self.factors)

    def low_rank(self, site: str) -> LowRank:
        """The change of one weight as its two factors.

        Args:
            site: One of `sites`.

        Returns:
            ``(d_out, r)`` and ``(r, d_text)``, float32.
        """
        return LowRank(self.factors[site], self.directions)

    def delta(self, site: str, base: Tensor) -> Tensor:
        """The change of one weight, ``(d_out, d_text)``, float64, on the CPU.

        Args:
            site: One of `sites`.
            base: The pristine weight; this payload does not depend on it.

        Returns:
            The product of the two factors.
        """
        return self.low_rank(site).dense()

    def tensors(self) -> dict[str, Tensor]:
        """Everything it stores, by name."""
        named = {f"{_FACTORS}{site}": factor for site, factor in self.factors.items()}
        return {"directions": self.directions, **named}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> SiteShift:
        """Rebuild it from named tensors.

        Args:
            tensors: What `tensors` returned, perhaps from an untrusted file.

        Returns:
            The payload.

        Raises:
            MethodError: If the names, shapes, dtypes or values do not fit.
        """
        rest = dict(tensors)
        directions = rest.pop("directions", None)
        if directions is None:
            raise MethodError(f"a site shift needs 'directions', got {shown(sorted(tensors))}.")
        return cls(directions, unprefixed(rest, _FACTORS, "a site shift"))


PAYLOADS: Mapping[str, type[Payload]] = MappingProxyType(
    {
        payload.kind: payload
        for payload in (
            AdapterGuard,
            BottleneckGuard,
            DenseShift,
            FactorShift,
            GatedGuard,
            NegativeGuard,
            SiteShift,
            SparseShift,
            SurgeryGuard,
            TextShift,
            ValueGuard,
        )
    }
)
"""Payload classes by kind, for reading a shift back."""
