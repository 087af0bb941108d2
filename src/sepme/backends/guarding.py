"""Puts guards in force on a U-Net by hooks, and takes them off again without a trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import Tensor, nn

from sepme.core.fingerprint import fingerprint
from sepme.core.guard import Guard
from sepme.errors import BaseMismatch, did_you_mean

Guards: TypeAlias = tuple[tuple[Guard, float], ...]
"""Guards with their strengths, in the order in which they act."""


class Guarding:
    """Which guards act on a network.

    A copy of the network carries the guards that act at the time, and keeps them.

    Args:
        network: A diffusers U-Net.
    """

    def __init__(self, network: nn.Module) -> None:
        """Start with no guard."""
        self._network = network
        self._handles: list[Any] = []
        self.guards: Guards = ()

    def put(self, guards: Sequence[tuple[Guard, float]]) -> None:
        """Let these guards act, and no others; with none, no hook is left.

        Args:
            guards: Guards with their strengths, in the order in which they act.

        Raises:
            BaseMismatch: If a guard names a module that the network lacks; nothing changes then.
        """
        modules = dict(self._network.named_modules()) if guards else {}
        names = dict.fromkeys(name for guard, _ in guards for name in guard.modules)
        for name in names:
            if name not in modules:
                raise BaseMismatch(
                    f"a guard acts on {name!r}, which this model does not have. Load the base it "
                    f"was fitted on. {did_you_mean(name, modules)}"
                )
        self._clear()
        if not guards:
            return
        batch = _Batch(tuple(guards))
        before, after = self._network.register_forward_pre_hook, self._network.register_forward_hook
        self._handles.append(before(_Entrance(batch), with_kwargs=True))
        self._handles.append(after(_Exit(batch), always_call=True))
        for name in names:
            acting = tuple(pair for pair in guards if name in pair[0].modules)
            hook = _Output(batch, name, acting)
            self._handles.append(modules[name].register_forward_hook(hook))
        self.guards = batch.guards

    def _clear(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self.guards = [], ()

    @contextmanager
    def instead(self, guards: Sequence[tuple[Guard, float]]) -> Iterator[None]:
        """Let other guards act inside a ``with`` block.

        Args:
            guards: As for `put`.

        Yields:
            Nothing.
        """
        before = self.guards
        try:
            self.put(guards)
            yield
        finally:
            self.put(before)


def guards_fingerprint(guards: Guards) -> dict[str, str]:
    """What tells one set of guards from another, for a fingerprint; empty without guards.

    Args:
        guards: Guards with their strengths.

    Returns:
        At most one text by name.
    """
    if not guards:
        return {}
    named = enumerate(guards)
    tensors = (
        (f"{i}.{name}", tensor) for i, (g, _) in named for name, tensor in g.tensors().items()
    )
    kinds = {str(i): f"{guard.kind} {strength!r}" for i, (guard, strength) in enumerate(guards)}
    return {"guards": fingerprint(tensors, kinds)}


@dataclass(eq=False)
class _Batch:
    """What the hooks of one network have in common during a forward pass."""

    guards: Guards
    embeds: Tensor | None = field(default=None)


@dataclass(eq=False)
class _Entrance:
    """Maps the text embeddings that a U-Net is about to read."""

    batch: _Batch

    def __call__(
        self, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        named = "encoder_hidden_states" in kwargs
        embeds: Tensor = kwargs["encoder_hidden_states"] if named else args[2]
        self.batch.embeds = embeds
        guided = _guided(args[0] if args else kwargs["sample"])
        for guard, strength in self.batch.guards:
            if guided or not guard.guided_only:
                embeds = guard.text(embeds, strength)
        if named:
            return args, {**kwargs, "encoder_hidden_states": embeds}
        return (*args[:2], embeds, *args[3:]), kwargs


def _guided(latents: Tensor) -> bool:
    """Whether a batch is one of classifier-free guidance: every latent twice, bit for bit."""
    half, odd = divmod(len(latents), 2)
    return not odd and bool((latents[:half] == latents[half:]).all())


@dataclass(eq=False)
class _Exit:
    """Forgets the embeddings, which may belong to a graph."""

    batch: _Batch

    def __call__(self, network: nn.Module, args: object, output: object) -> None:
        self.batch.embeds = None


@dataclass(eq=False)
class _Output:
    """Changes what one module puts out."""

    batch: _Batch
    name: str
    guards: Guards

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        if self.batch.embeds is None:  # the module is used by itself, outside the network
            return output
        for guard, strength in self.guards:
            output = guard.output(self.name, args[0], output, self.batch.embeds, strength)
        return output
