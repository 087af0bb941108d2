"""A guard of rank-1 adapters, each of which acts as far as the prompt is like its concept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Self

import torch
from torch import Tensor

from sepme.core.factors import by_site, owned_matrix, unprefixed
from sepme.core.guard import Guard
from sepme.errors import MethodError, shown

_DOWN, _UP = "down.", "up."


@dataclass(frozen=True, eq=False)
class AdapterGuard(Guard):
    """Adds ``sum_k gamma_k up_k down_k`` to linear layers, gated for every prompt by itself.

    ``gamma_k`` is the cosine between the whole embeddings of the prompt and of concept ``k``, at
    least 0 (SPM, facilitated transport). The sum is one of products: adapters do not mix.

    Attributes:
        concepts: ``e(concept k)``, one row each, ``(k, tokens * d_text)``, float32.
        down: Module path of a linear layer to ``(k, d_in)``, float32.
        up: The same paths to ``(d_out, k)``, float32.

    Raises:
        MethodError: If a name, shape or dtype does not fit.
        Diverged: If a number is not finite.

    Example:
        >>> down, up = {"to_q": torch.eye(1, 2)}, {"to_q": torch.eye(2, 1)}
        >>> guard = AdapterGuard(torch.eye(1, 2), down, up)
        >>> embeds, given = torch.tensor([[[3.0, 0.0]], [[0.0, 3.0]]]), torch.ones(2, 1, 2)
        >>> guard.output("to_q", given, torch.zeros(2, 1, 2), embeds, 1.0).tolist()
        [[[1.0, 0.0]], [[0.0, 0.0]]]
    """

    kind: ClassVar[str] = "adapter-guard"
    concepts: Tensor
    down: Mapping[str, Tensor]
    up: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        """Check and copy every tensor."""
        concepts, down, up = owned_matrix("concepts", self.concepts), by_site(self.down), self.up
        up, count = by_site(up), len(concepts)
        if down.keys() != up.keys():
            odd = min(down.keys() ^ up.keys())
            raise MethodError(f"an adapter needs a way down and a way up, {odd!r} has one only.")
        for module in down:
            if len(down[module]) != count or up[module].shape[1] != count:
                raise MethodError(
                    f"module {module!r} needs {count} rows down and columns up, one per concept, "
                    f"got shapes {tuple(down[module].shape)} and {tuple(up[module].shape)}."
                )
        object.__setattr__(self, "concepts", concepts)
        object.__setattr__(self, "down", MappingProxyType(down))
        object.__setattr__(self, "up", MappingProxyType(up))

    @property
    def modules(self) -> tuple[str, ...]:
        """Module paths of the linear layers, sorted."""
        return tuple(self.down)

    def gates(self, embeds: Tensor) -> Tensor:
        """How far each adapter acts.

        Args:
            embeds: ``(n, tokens, d_text)``.

        Returns:
            ``gamma``, ``(n, k)``, 0 to 1, float32.
        """
        prompts = torch.nn.functional.normalize(embeds.flatten(1).float(), dim=1)
        concepts = torch.nn.functional.normalize(self.concepts.to(prompts), dim=1)
        return (prompts @ concepts.T).clamp(min=0)

    def output(
        self, module: str, given: Tensor, output: Tensor, embeds: Tensor, strength: float
    ) -> Tensor:
        """What the layer puts out with its adapters.

        Args:
            module: One of `modules`.
            given: The layer's input, ``(n, rows, d_in)``.
            output: What it puts out by itself, ``(n, rows, d_out)``.
            embeds: Text embeddings of the batch, ``(n, tokens, d_text)``.
            strength: Factor of what is added.

        Returns:
            Same shape and dtype as ``output``.
        """
        gates = self.gates(embeds)[:, None, :]
        inner = given.float() @ self.down[module].to(gates).T
        added = (strength * gates * inner) @ self.up[module].to(gates).T
        return output + added.to(output.dtype)

    def beside(self, other: AdapterGuard) -> AdapterGuard:
        """One guard with the adapters of both, each of which acts as before.

        Args:
            other: Adapters of the same linear layers.

        Returns:
            The guard.
        """
        return AdapterGuard(
            torch.cat([self.concepts, other.concepts]),
            {module: torch.cat([rows, other.down[module]]) for module, rows in self.down.items()},
            {module: torch.cat([part, other.up[module]], 1) for module, part in self.up.items()},
        )

    def tensors(self) -> dict[str, Tensor]:
        """Everything it stores, by name."""
        down = {f"{_DOWN}{module}": rows for module, rows in self.down.items()}
        up = {f"{_UP}{module}": columns for module, columns in self.up.items()}
        return {"concepts": self.concepts, **down, **up}

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
        concepts = rest.pop("concepts", None)
        if concepts is None:
            raise MethodError(f"an adapter guard needs 'concepts', got {shown(sorted(tensors))}.")
        down = {name: rest.pop(name) for name in tensors if name.startswith(_DOWN)}
        what = "an adapter guard"
        return cls(concepts, unprefixed(down, _DOWN, what), unprefixed(rest, _UP, what))
