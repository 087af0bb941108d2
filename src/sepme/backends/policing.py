"""Puts a policy in force on a U-Net by hooks: every prompt of a batch has its own erased set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from sepme.backends.hooks import Call, embeds_of, is_guided, latents_of, with_embeds
from sepme.core.backend import CROSS_ATTN_KV
from sepme.core.policy import Policy
from sepme.core.side_path import SidePath
from sepme.errors import BackendError


def policy_hooks(
    network: nn.Module, modules: Mapping[str, nn.Module], policy: Policy
) -> Iterator[Any]:
    """Register the hooks of a policy, one by one.

    Args:
        network: A diffusers U-Net with pristine weights.
        modules: Its modules by path, all that the policy changes.
        policy: The policy.

    Yields:
        Handles that take the hooks off again.
    """
    batch = _Batch(policy)
    yield network.register_forward_pre_hook(_Entrance(batch), with_kwargs=True)
    yield network.register_forward_hook(_Exit(batch), always_call=True)
    for name, module in modules.items():
        reads_text = re.fullmatch(CROSS_ATTN_KV, name) is not None
        yield module.register_forward_hook(_Output(batch, name, reads_text))


@dataclass(frozen=True, eq=False)
class _Lane:
    """The rows of a batch that have one erased set, during a forward pass.

    Attributes:
        path: Their side path.
        rows: Their numbers.
        embeds: Their text embeddings as the U-Net was called with them.
        text: The same after the guards: what folded weights would read.
        inner: What the factors of every site multiply.
    """

    path: SidePath
    rows: Tensor
    embeds: Tensor
    text: Tensor
    inner: Tensor | None


@dataclass(eq=False)
class _Batch:
    """What the hooks of one network have in common during a forward pass."""

    policy: Policy
    lanes: tuple[_Lane, ...] = ()
    known: dict[tuple[int, torch.device], dict[SidePath, Tensor]] = field(default_factory=dict)

    def rows(self, latents: Tensor) -> dict[SidePath, Tensor]:
        """Which rows each side path is for, on the device of the batch."""
        key = (len(latents), latents.device)
        if self.policy.is_guided(len(latents)) and not is_guided(latents):
            raise BackendError(
                f"the U-Net got {len(latents)} rows for {len(self.policy.paths)} prompts, yet they "
                "are not two equal halves as under guidance; give images_per_prompt as the "
                "pipeline gets it."
            )
        if key not in self.known:
            rows = self.policy.rows(len(latents))
            self.known[key] = {p: torch.tensor(r, device=latents.device) for p, r in rows.items()}
        return self.known[key]


@dataclass(eq=False)
class _Entrance:
    """Sorts the rows of a batch by their erased set, and maps their text embeddings."""

    batch: _Batch

    def __call__(self, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        latents, embeds = latents_of(args, kwargs), embeds_of(args, kwargs)
        guided = self.batch.policy.is_guided(len(latents))
        lanes, read = [], embeds
        for path, rows in self.batch.rows(latents).items():
            own = embeds[rows]
            text = path.guarded(own, guided=guided)
            lanes.append(_Lane(path, rows, own, text, path.inner(text)))
            if (mapped := path.mapped(text)) is not own:
                read = read.index_copy(0, rows, mapped)
        self.batch.lanes = tuple(lanes)
        return with_embeds(args, kwargs, read)


@dataclass(eq=False)
class _Exit:
    """Forgets the batch, which may belong to a graph."""

    batch: _Batch

    def __call__(self, network: nn.Module, args: object, output: object) -> None:
        self.batch.lanes = ()


@dataclass(eq=False)
class _Output:
    """Changes the rows of what one module puts out: first as a shift would, then as guards do."""

    batch: _Batch
    name: str
    reads_text: bool

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        for lane in self.batch.lanes:  # none if the module is used by itself, outside the network
            self._shift(lane, getattr(module, "bias", None), args[0], output)
            if any(self.name in guard.modules for guard, _ in lane.path.guards):
                own = self._guarded(lane, args[0], output[lane.rows])
                output = output.index_copy(0, lane.rows, own)
        return output

    def _shift(self, lane: _Lane, bias: Any, given: Tensor, output: Tensor) -> None:  # noqa: ANN401
        """Give rows what folded weights would, in place: a linear layer owns its output."""
        factor, weight = (part.get(self.name) for part in (lane.path.factors, lane.path.weights))
        if factor is not None and lane.inner is not None:
            output.index_add_(0, lane.rows, (lane.inner @ factor).to(output.dtype))
        if weight is not None:
            output.index_copy_(0, lane.rows, linear(given[lane.rows], weight, bias))

    def _guarded(self, lane: _Lane, given: Tensor, own: Tensor) -> Tensor:
        read = lane.text if self.reads_text else given[lane.rows]
        for guard, strength in lane.path.guards:
            if self.name in guard.modules:
                own = guard.output(self.name, read, own, lane.embeds, strength)
        return own
