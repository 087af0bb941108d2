"""A change of text space, which every text site takes part in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sepme.core.factors import check_site, owned_matrix
from sepme.errors import BaseMismatch, MethodError, shown
from sepme.linalg.low_rank import LowRank

_SITES = "sites."


@dataclass(frozen=True, eq=False)
class TextShift:
    """One low-rank map of text space that serves every text site.

    A site whose pristine weight is ``W`` changes by ``dW = W M`` with ``M = left right``: it reads
    the embedding ``e`` as if it were ``e + M e``. The map does not depend on the site, so it
    takes ``2 r d_text`` numbers whatever the number of sites. The tensors are copied.

    Attributes:
        left: ``(d_text, r)``, float32.
        right: ``(r, d_text)``, float32.
        sites: Module paths of the weights it changes; kept sorted.

    Raises:
        MethodError: If a name, shape or dtype does not fit.
        Diverged: If a number is not finite.

    Example:
        >>> shift = TextShift(torch.eye(2, 1), torch.eye(1, 2), ("to_k",))
        >>> shift.delta("to_k", torch.tensor([[3.0, 4.0]]))
        tensor([[3., 0.]], dtype=torch.float64)
    """

    kind: ClassVar[str] = "text"
    left: Tensor
    right: Tensor
    sites: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check everything and copy the tensors."""
        left, right = owned_matrix("left", self.left), owned_matrix("right", self.right)
        if left.shape != right.T.shape:
            raise MethodError(
                f"a text map needs factors of shapes (d, r) and (r, d), got {tuple(left.shape)} "
                f"and {tuple(right.shape)}."
            )
        for site in self.sites:
            check_site(site)
        if not self.sites or len(set(self.sites)) < len(self.sites):
            raise MethodError(f"a shift needs distinct sites, got {shown(list(self.sites))}.")
        object.__setattr__(self, "left", left)
        object.__setattr__(self, "right", right)
        object.__setattr__(self, "sites", tuple(sorted(self.sites)))

    def low_rank(self, site: str, base: Tensor) -> LowRank:
        """The change of one weight as two factors.

        Args:
            site: One of `sites`.
            base: The pristine weight, ``(d_out, d_text)``.

        Returns:
            ``(d_out, r)`` and ``(r, d_text)``, float64, on the CPU.

        Raises:
            BaseMismatch: If the weight reads embeddings of another width.
        """
        self.check_width(site, base)
        weight = base.detach().to("cpu", torch.float64)
        return LowRank(weight @ self.left.double(), self.right.double())

    def check_width(self, site: str, base: Tensor) -> None:
        """Refuse a weight that reads embeddings of another width.

        Args:
            site: Its module path.
            base: The weight.

        Raises:
            BaseMismatch: If it does.
        """
        if base.ndim != 2 or base.shape[1] != len(self.left):
            raise BaseMismatch(
                f"a map of {len(self.left)}-dimensional text space cannot change {site!r} of shape "
                f"{tuple(base.shape)}. Load the base it was fitted on."
            )

    def delta(self, site: str, base: Tensor) -> Tensor:
        """The change of one weight, ``(d_out, d_text)``, float64, on the CPU.

        Args:
            site: One of `sites`.
            base: The pristine weight.

        Returns:
            ``W M``.

        Raises:
            BaseMismatch: If the weight reads embeddings of another width.
        """
        return self.low_rank(site, base).dense()

    def tensors(self) -> dict[str, Tensor]:
        """Everything it stores, by name; a site is an empty tensor, of which the name counts."""
        named = {f"{_SITES}{site}": torch.empty(0) for site in self.sites}
        return {"left": self.left, "right": self.right, **named}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> TextShift:
        """Rebuild it from named tensors.

        Args:
            tensors: What `tensors` returned, perhaps from an untrusted file.

        Returns:
            The payload.

        Raises:
            MethodError: If the names, shapes, dtypes or values do not fit.
        """
        rest = dict(tensors)
        left, right = rest.pop("left", None), rest.pop("right", None)
        if left is None or right is None:
            raise MethodError(
                f"a text shift needs 'left' and 'right', got {shown(sorted(tensors))}."
            )
        for name, tensor in sorted(rest.items()):
            if not name.startswith(_SITES):
                raise MethodError(f"a text shift has no tensor named {shown(name)}.")
            if tensor.dtype != torch.float32 or tensor.shape != (0,):
                raise MethodError(
                    f"{shown(name)} only names a site and must be an empty float32 vector, "
                    f"got {tensor.dtype} of shape {tuple(tensor.shape)}."
                )
        return cls(left, right, tuple(name.removeprefix(_SITES) for name in rest))
