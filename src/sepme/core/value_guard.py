"""A guard that takes a concept out of the values of cross-attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Self

import torch
from torch import Tensor

from sepme.core.factors import by_site, owned_matrix, unprefixed
from sepme.core.guard import Guard
from sepme.errors import MethodError, shown

_TARGETS = "targets."

_RTOL = 1e-6
"""Singular values of the unit targets below this share of the largest count as zero."""


@dataclass(frozen=True, eq=False)
class ValueGuard(Guard):
    """Removes the part of a token's value that lies along the values of the erased concepts.

    ``v' = v - delta P v`` with ``P`` the orthogonal projection on the span of the targets and
    ``delta = c / (1 + exp(-a (max_k cos(v, t_k) - b)))``, so that values unlike every target stay
    nearly as they are (AdaVD). The first row, the start token, is the same in every prompt and is
    left alone.

    Attributes:
        gate: ``(a, b, c)``, slope, threshold and ceiling, as one row, float32.
        targets: Module path of a value projection to its targets ``t_k``, ``(k, d_out)``, float32.

    Raises:
        MethodError: If a name, shape or dtype does not fit.
        Diverged: If a number is not finite.

    Example:
        >>> guard = ValueGuard(torch.tensor([[100.0, 0.9, 1.0]]), {"to_v": torch.eye(1, 2)})
        >>> values = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
        >>> guard.output("to_v", values, values, values, 1.0)[0, :, 0].abs().lt(1e-4).tolist()
        [False, True, True]
    """

    kind: ClassVar[str] = "value-guard"
    gate: Tensor
    targets: Mapping[str, Tensor]
    _bases: Mapping[str, Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check and copy every tensor."""
        gate, targets = owned_matrix("gate", self.gate), by_site(self.targets)
        if gate.shape != (1, 3):
            raise MethodError(f"a gate has 3 numbers in a row, got shape {tuple(gate.shape)}.")
        if not all(target.norm(dim=1).all() for target in targets.values()):
            raise MethodError("a target of a value guard is zero, so it has no direction.")
        object.__setattr__(self, "gate", gate)
        object.__setattr__(self, "targets", MappingProxyType(targets))
        bases = {module: _basis(target) for module, target in targets.items()}
        object.__setattr__(self, "_bases", MappingProxyType(bases))

    @property
    def modules(self) -> tuple[str, ...]:
        """Module paths of the value projections, sorted."""
        return tuple(self.targets)

    def output(
        self, module: str, given: Tensor, output: Tensor, embeds: Tensor, strength: float
    ) -> Tensor:
        """Values without their part along the targets.

        Args:
            module: One of `modules`.
            given: What the module read; not used.
            output: Values ``(n, tokens, d_out)``.
            embeds: Text embeddings; not used.
            strength: Factor of what is removed.

        Returns:
            Values, same shape and dtype.
        """
        values = output[:, 1:].float()
        slope, threshold, ceiling = self.gate[0].tolist()
        unit = torch.nn.functional.normalize(self.targets[module].to(values), dim=1)
        likeness = (torch.nn.functional.normalize(values, dim=-1) @ unit.T).amax(-1, keepdim=True)
        delta = strength * ceiling * torch.sigmoid(slope * (likeness - threshold))
        basis = self._bases[module].to(values)
        left = values - delta * (values @ basis.T @ basis)
        return torch.cat([output[:, :1], left.to(output.dtype)], dim=1)

    def tensors(self) -> dict[str, Tensor]:
        """Everything it stores, by name."""
        return {"gate": self.gate, **{f"{_TARGETS}{m}": t for m, t in self.targets.items()}}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild it from named tensors.

        Args:
            tensors: What `tensors` returned, perhaps from an untrusted file.

        Returns:
            The guard.

        Raises:
            MethodError: If the names, shapes, dtypes or values do not fit.
        """
        rest = dict(tensors)
        gate = rest.pop("gate", None)
        if gate is None:
            raise MethodError(f"a value guard needs 'gate', got {shown(sorted(tensors))}.")
        return cls(gate, unprefixed(rest, _TARGETS, "a value guard"))


def _basis(targets: Tensor) -> Tensor:
    """Orthonormal rows that span the targets, ``(r, d_out)``, float32."""
    unit = torch.nn.functional.normalize(targets.double(), dim=1)
    _, sizes, rows = torch.linalg.svd(unit, full_matrices=False)
    basis: Tensor = rows[sizes > _RTOL * sizes[0]].float()
    return basis
