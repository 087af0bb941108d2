"""A change of every number of some weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from torch import Tensor

from sepme.core.factors import by_site, unprefixed

_CHANGES = "changes."


@dataclass(frozen=True, eq=False)
class DenseShift:
    """One change per site, as large as the weight it changes.

    What methods give that leave every number of a weight free: no text row is spared by
    construction. The tensors are copied, so that what the caller does to its own later changes
    nothing here.

    Attributes:
        changes: Module path of a site to its ``dW_l``, ``(d_out, d_in)`` or, for a
            convolution, ``(d_out, d_in, height, width)``, float32.

    Raises:
        MethodError: If a name, shape or dtype does not fit.
        Diverged: If a number is not finite.

    Example:
        >>> import torch
        >>> DenseShift({"to_k": torch.ones(2, 3)}).delta("to_k", torch.zeros(2, 3))
        tensor([[1., 1., 1.],
                [1., 1., 1.]], dtype=torch.float64)
    """

    kind: ClassVar[str] = "dense"
    changes: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        """Check and copy every tensor."""
        object.__setattr__(self, "changes", MappingProxyType(by_site(self.changes, dims=(2, 4))))

    @property
    def sites(self) -> tuple[str, ...]:
        """Module paths of the weights it changes, sorted."""
        return tuple(self.changes)

    def delta(self, site: str, base: Tensor) -> Tensor:
        """The change of one weight, of its shape, float64, on the CPU.

        Args:
            site: One of `sites`.
            base: The pristine weight; this payload does not depend on it.

        Returns:
            The change.
        """
        return self.changes[site].double()

    def tensors(self) -> dict[str, Tensor]:
        """Everything it stores, by name."""
        return {f"{_CHANGES}{site}": change for site, change in self.changes.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> DenseShift:
        """Rebuild it from named tensors.

        Args:
            tensors: What `tensors` returned, perhaps from an untrusted file.

        Returns:
            The payload.

        Raises:
            MethodError: If the names, shapes, dtypes or values do not fit.
        """
        return cls(unprefixed(tensors, _CHANGES, "a dense shift"))
