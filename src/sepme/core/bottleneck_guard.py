"""A guard of small two-layer networks, each of which corrects what one module puts out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Self

from torch import Tensor
from torch.nn.functional import gelu

from sepme.core.factors import by_site, unprefixed
from sepme.core.guard import Guard
from sepme.errors import MethodError

_DOWN, _UP = "down.", "up."


@dataclass(frozen=True, eq=False)
class BottleneckGuard(Guard):
    """Adds ``up gelu(down h)`` to what a module puts out, ``h``, one row at a time (Receler).

    It acts on every prompt alike, and tells them apart by ``h`` only.

    Attributes:
        down: Module path to ``(rank, d_out)``, float32; ranks may differ.
        up: The same paths to ``(d_out, rank)``, float32.

    Raises:
        MethodError: If a name, shape or dtype does not fit.
        Diverged: If a number is not finite.

    Example:
        >>> import torch
        >>> guard = BottleneckGuard({"to_out": torch.eye(1, 2)}, {"to_out": 2 * torch.eye(2, 1)})
        >>> h = torch.tensor([[[10.0, 1.0], [-10.0, 1.0]]])
        >>> guard.output("to_out", h, h, h, 0.5).tolist()
        [[[20.0, 1.0], [-10.0, 1.0]]]
    """

    kind: ClassVar[str] = "bottleneck-guard"
    down: Mapping[str, Tensor]
    up: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        """Check and copy every tensor."""
        down, up = by_site(self.down), by_site(self.up)
        if down.keys() != up.keys():
            odd = min(down.keys() ^ up.keys())
            raise MethodError(f"a bottleneck needs a way down and a way up, {odd!r} has one only.")
        for module, rows in down.items():
            if rows.shape != up[module].T.shape:
                raise MethodError(
                    f"module {module!r} needs a way up from where its way down ends, "
                    f"got shapes {tuple(rows.shape)} and {tuple(up[module].shape)}."
                )
        object.__setattr__(self, "down", MappingProxyType(down))
        object.__setattr__(self, "up", MappingProxyType(up))

    @property
    def modules(self) -> tuple[str, ...]:
        """Module paths, sorted."""
        return tuple(self.down)

    def added(self, module: str, output: Tensor) -> Tensor:
        """What is added at strength 1.

        Args:
            module: One of `modules`.
            output: What the module puts out by itself, ``(..., d_out)``.

        Returns:
            Same shape, float32.
        """
        rows = output.float()
        return gelu(rows @ self.down[module].to(rows).T) @ self.up[module].to(rows).T

    def output(
        self, module: str, given: Tensor, output: Tensor, embeds: Tensor, strength: float
    ) -> Tensor:
        """What the module puts out with its correction.

        Args:
            module: One of `modules`.
            given: The module's input; not used.
            output: What it puts out by itself, ``(..., d_out)``.
            embeds: Text embeddings; not used.
            strength: Factor of what is added.

        Returns:
            Same shape and dtype as ``output``.
        """
        return output + (strength * self.added(module, output)).to(output.dtype)

    def tensors(self) -> dict[str, Tensor]:
        """Everything it stores, by name."""
        down = {f"{_DOWN}{module}": rows for module, rows in self.down.items()}
        return down | {f"{_UP}{module}": columns for module, columns in self.up.items()}

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
        down = {name: rest.pop(name) for name in tensors if name.startswith(_DOWN)}
        what = "a bottleneck guard"
        return cls(unprefixed(down, _DOWN, what), unprefixed(rest, _UP, what))
