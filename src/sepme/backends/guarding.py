"""Puts guards or a policy in force on a U-Net by hooks, and takes them off without a trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import Tensor, nn

from sepme.backends.hooks import Call, embeds_of, is_guided, latents_of, submodules, with_embeds
from sepme.backends.policing import policy_hooks
from sepme.core.fingerprint import fingerprint
from sepme.core.guard import Guard
from sepme.core.policy import Policy

Guards: TypeAlias = tuple[tuple[Guard, float], ...]
"""Guards with their strengths, in the order in which they act."""


class Guarding:
    """Which guards act on a network, or which policy does in their place.

    A copy of the network carries the guards that act at the time, and keeps them.

    Args:
        network: A diffusers U-Net.
    """

    def __init__(self, network: nn.Module) -> None:
        """Start with no guard."""
        self._network = network
        self._handles: list[Any] = []
        self.guards: Guards = ()
        self.policy: Policy | None = None

    def put(self, acting: Sequence[tuple[Guard, float]] | Policy) -> None:
        """Let these guards or this policy act, and nothing else; with no guard, no hook is left.

        Args:
            acting: Guards with their strengths, in the order in which they act; or a policy.

        Raises:
            BaseMismatch: If a guard names a module that the network lacks; nothing changes then.
        """
        policy = acting if isinstance(acting, Policy) else None
        guards = () if isinstance(acting, Policy) else tuple(acting)
        names = policy.modules if policy else (n for guard, _ in guards for n in guard.modules)
        modules = submodules(self._network, names)
        self._clear()
        if policy:
            self._handles.extend(policy_hooks(self._network, modules, policy))
        elif guards:
            self._handles.extend(_guard_hooks(self._network, modules, guards))
        self.guards, self.policy = guards, policy

    def _clear(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self.guards, self.policy = [], (), None

    @contextmanager
    def instead(self, acting: Sequence[tuple[Guard, float]] | Policy) -> Iterator[None]:
        """Let something else act inside a ``with`` block.

        Args:
            acting: As for `put`.

        Yields:
            Nothing.
        """
        before = self.policy or self.guards
        try:
            self.put(acting)
            yield
        finally:
            self.put(before)


def _guard_hooks(
    network: nn.Module, modules: Mapping[str, nn.Module], guards: Guards
) -> Iterator[Any]:
    batch = _Batch(guards)
    yield network.register_forward_pre_hook(_Entrance(batch), with_kwargs=True)
    yield network.register_forward_hook(_Exit(batch), always_call=True)
    for name, module in modules.items():
        acting = tuple(pair for pair in guards if name in pair[0].modules)
        yield module.register_forward_hook(_Output(batch, name, acting))


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

    def __call__(self, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        embeds = given = self.batch.embeds = embeds_of(args, kwargs)
        guided = is_guided(latents_of(args, kwargs))
        for guard, strength in self.batch.guards:
            if guided or not guard.guided_only:
                embeds = guard.text_after(embeds, given, strength)
        return with_embeds(args, kwargs, embeds)


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
