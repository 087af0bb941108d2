"""A change of single numbers of some weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor

from sepme.core.factors import check_site, owned_matrix
from sepme.errors import BaseMismatch, MethodError, shown

_PARTS = ("positions.", "before.", "after.")


@dataclass(frozen=True, eq=False)
class SparseShift:
    """New values at some positions of each site's weight, and the values they replace.

    Everything else of a weight stays as it is. Who knows the values before can undo the change,
    and the positions alone can tell what was erased ("Roots Beneath the Cut",
    https://arxiv.org/abs/2603.06640): a published shift gives its concept away. The tensors are
    copied.

    Attributes:
        positions: Module path of a site to places in its flattened weight, ascending, ``(n,)``,
            int32.
        before: The pristine values there, ``(n,)``, float32.
        after: The values that replace them, ``(n,)``, float32.

    Raises:
        MethodError: If a name, shape, dtype or position does not fit.
        Diverged: If a number is not finite.

    Example:
        >>> weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> shift = SparseShift.zeroing({"ff": weight}, {"ff": weight > 3})
        >>> shift.delta("ff", weight)
        tensor([[ 0.,  0.],
                [ 0., -4.]], dtype=torch.float64)
    """

    kind: ClassVar[str] = "sparse"
    positions: Mapping[str, Tensor]
    before: Mapping[str, Tensor]
    after: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        """Check and copy every tensor."""
        if not self.positions:
            raise MethodError("a shift needs at least one site, got none.")
        if not self.positions.keys() == self.before.keys() == self.after.keys():
            raise MethodError(
                "a sparse shift needs positions, values before and values after for the same "
                f"sites, got {shown(sorted(self.positions))}, {shown(sorted(self.before))} and "
                f"{shown(sorted(self.after))}."
            )
        places = {site: _owned_positions(site, t) for site, t in sorted(self.positions.items())}
        for part in ("before", "after"):
            values = {site: _values(site, getattr(self, part)[site], places) for site in places}
            object.__setattr__(self, part, MappingProxyType(values))
        object.__setattr__(self, "positions", MappingProxyType(places))

    @classmethod
    def zeroing(cls, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> SparseShift:
        """The shift that sets some numbers of some weights to zero.

        Args:
            weights: Site to pristine weight.
            masks: Site to a boolean tensor of the weight's shape, true where it becomes zero; a
                site without a true is left out.

        Returns:
            The shift.

        Raises:
            MethodError: If nothing would become zero.
        """
        places = {site: mask.flatten().nonzero().flatten().cpu() for site, mask in masks.items()}
        places = {site: found for site, found in places.items() if len(found)}
        before = {s: weights[s].detach().cpu().float().flatten()[p] for s, p in places.items()}
        return cls(
            {site: found.int() for site, found in places.items()},
            before,
            {site: torch.zeros_like(values) for site, values in before.items()},
        )

    @property
    def sites(self) -> tuple[str, ...]:
        """Module paths of the weights it changes, sorted."""
        return tuple(self.positions)

    def delta(self, site: str, base: Tensor) -> Tensor:
        """The change of one weight, of its shape, float64, on the CPU.

        Args:
            site: One of `sites`.
            base: The pristine weight.

        Returns:
            ``after - before`` at the positions, zero elsewhere.

        Raises:
            BaseMismatch: If the weight does not hold the values before.
        """
        where, before = self.positions[site].long(), self.before[site]
        flat = base.detach().to("cpu", torch.float64).flatten()
        if int(where[-1]) >= len(flat) or not torch.equal(flat[where].float(), before):
            raise BaseMismatch(
                f"{site!r} of this model does not hold the values that a sparse shift replaces. "
                "Load the base it was fitted on."
            )
        change = torch.zeros_like(flat)
        change[where] = self.after[site].double() - before.double()
        return change.reshape(base.shape)

    def tensors(self) -> dict[str, Tensor]:
        """Everything it stores, by name."""
        parts = zip(_PARTS, (self.positions, self.before, self.after), strict=True)
        return {f"{prefix}{s}": tensor for prefix, part in parts for s, tensor in part.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> SparseShift:
        """Rebuild it from named tensors.

        Args:
            tensors: What `tensors` returned, perhaps from an untrusted file.

        Returns:
            The payload.

        Raises:
            MethodError: If the names, shapes, dtypes or values do not fit.
        """
        parts: dict[str, dict[str, Tensor]] = {prefix: {} for prefix in _PARTS}
        for name, tensor in tensors.items():
            prefix = f"{name.partition('.')[0]}."
            if prefix not in parts:
                raise MethodError(f"a sparse shift has no tensor named {shown(name)}.")
            parts[prefix][name.removeprefix(prefix)] = tensor
        return cls(*(parts[prefix] for prefix in _PARTS))


def _owned_positions(site: str, tensor: Tensor) -> Tensor:
    """A checked copy of positions."""
    check_site(site)
    if tensor.dtype != torch.int32 or tensor.ndim != 1 or not len(tensor):
        raise MethodError(
            f"positions of {site!r} must be a non-empty int32 vector, "
            f"got {tensor.dtype} of shape {tuple(tensor.shape)}."
        )
    owned = tensor.to("cpu", copy=True, memory_format=torch.contiguous_format)
    if owned[0] < 0 or not (owned[1:] > owned[:-1]).all():
        raise MethodError(f"positions of {site!r} must be ascending, distinct and at least 0.")
    return owned


def _values(site: str, tensor: Tensor, places: Mapping[str, Tensor]) -> Tensor:
    """A checked copy of the values at the positions of a site."""
    owned = owned_matrix(site, tensor, dims=(1,))
    if len(owned) != len(places[site]):
        raise MethodError(
            f"site {site!r} needs one value for each of {len(places[site])} positions, "
            f"got {len(owned)}."
        )
    return owned
