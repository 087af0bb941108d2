"""A low-rank change of some weights, each with directions of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from torch import Tensor

from sepme.core.factors import by_site, unprefixed
from sepme.errors import MethodError, shown
from sepme.linalg.low_rank import LowRank

_LEFT, _RIGHT = "left.", "right."


@dataclass(frozen=True, eq=False)
class FactorShift:
    """One low-rank change per site, of its own rank and in its own directions.

    Site ``l`` changes by ``dW_l = A_l B_l``, as a LoRA does. Unlike `SiteShift`, which shares one
    ``B`` among all sites, it also serves sites that do not read the text. The tensors are copied,
    so that what the caller does to its own later changes nothing here.

    Attributes:
        left: Module path of a site to its ``A_l``, ``(d_out, r_l)``, float32.
        right: The same sites to their ``B_l``, ``(r_l, d_in)``, float32.

    Raises:
        MethodError: If a name, shape or dtype does not fit.
        Diverged: If a number is not finite.

    Example:
        >>> import torch
        >>> shift = FactorShift({"to_v": torch.ones(2, 1)}, {"to_v": torch.eye(1, 3)})
        >>> shift.delta("to_v", torch.zeros(2, 3))
        tensor([[1., 0., 0.],
                [1., 0., 0.]], dtype=torch.float64)
    """

    kind: ClassVar[str] = "factor"
    left: Mapping[str, Tensor]
    right: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        """Check and copy every tensor."""
        left, right = by_site(self.left), by_site(self.right)
        if odd := sorted(left.keys() ^ right.keys()):
            raise MethodError(f"a site needs a left and a right factor, {shown(odd[0])} has one.")
        for site, factor in left.items():
            if factor.shape[1] != len(right[site]):
                raise MethodError(
                    f"site {site!r} needs factors of shapes (d_out, r) and (r, d_in), "
                    f"got {tuple(factor.shape)} and {tuple(right[site].shape)}."
                )
        object.__setattr__(self, "left", MappingProxyType(left))
        object.__setattr__(self, "right", MappingProxyType(right))

    @property
    def sites(self) -> tuple[str, ...]:
        """Module paths of the weights it changes, sorted."""
        return tuple(self.left)

    def low_rank(self, site: str) -> LowRank:
        """The change of one weight as its two factors.

        Args:
            site: One of `sites`.

        Returns:
            ``(d_out, r)`` and ``(r, d_in)``, float32.
        """
        return LowRank(self.left[site], self.right[site])

    def delta(self, site: str, base: Tensor) -> Tensor:
        """The change of one weight, ``(d_out, d_in)``, float64, on the CPU.

        Args:
            site: One of `sites`.
            base: The pristine weight; this payload does not depend on it.

        Returns:
            The product of the two factors.
        """
        return self.low_rank(site).dense()

    def tensors(self) -> dict[str, Tensor]:
        """Everything it stores, by name."""
        left = {f"{_LEFT}{site}": factor for site, factor in self.left.items()}
        return left | {f"{_RIGHT}{site}": factor for site, factor in self.right.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> FactorShift:
        """Rebuild it from named tensors.

        Args:
            tensors: What `tensors` returned, perhaps from an untrusted file.

        Returns:
            The payload.

        Raises:
            MethodError: If the names, shapes, dtypes or values do not fit.
        """
        left = {name: tensor for name, tensor in tensors.items() if name.startswith(_LEFT)}
        right = {name: tensor for name, tensor in tensors.items() if name not in left}
        what = "a factor shift"
        return cls(unprefixed(left, _LEFT, what), unprefixed(right, _RIGHT, what))
