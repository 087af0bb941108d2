"""Puts a policy in force on a U-Net by hooks: every prompt of a batch has its own erased set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from sepme.backends.hooks import (
    Call,
    embeds_of,
    guidance_of_caller,
    is_guided,
    latents_of,
    with_embeds,
)
from sepme.core.backend import CROSS_ATTN_KV
from sepme.core.policy import Policy
from sepme.core.side_path import SidePath
from sepme.errors import BackendError

KEPT_BYTES = 2**28
"""What is added at the text sites is kept from step to step up to this size; the rest is worked out
at every step."""

_Moment: TypeAlias = tuple[int, bool, torch.dtype | None]


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
    """The rows of a batch that have one erased set.

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


@dataclass(frozen=True, eq=False)
class _Plan:
    """What a policy makes of one text embedding, which a pipeline hands over at every step.

    Attributes:
        embeds: The embedding.
        moment: When it was made; None if it must not be used again.
        lanes: The rows with an erased set.
        read: The embedding as the pristine weights are to read it.
        added: Text site to rows and what they get more there, as far as it is kept.
    """

    embeds: Tensor
    moment: _Moment | None
    lanes: tuple[_Lane, ...]
    read: Tensor
    added: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def serves(self, latents: Tensor, embeds: Tensor) -> bool:
        """Whether it is still what this call needs."""
        same = embeds is self.embeds and len(latents) == len(embeds)
        return same and self.moment is not None and self.moment == _moment(embeds)

    def addition(self, site: str, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
        """Rows and what a text site puts out more for them, or None; worked out once if it fits."""
        found = self.added.get(site)
        if found is None:
            parts = [
                (lane.rows, (lane.inner @ lane.path.factors[site]).to(dtype))
                for lane in self.lanes
                if lane.inner is not None and site in lane.path.factors
            ]
            if not parts:
                return None
            rows, values = (torch.cat(part) for part in zip(*parts, strict=True))
            found = rows, values
            if values.nbytes + sum(kept.nbytes for _, kept in self.added.values()) <= KEPT_BYTES:
                self.added[site] = found
        return found


def _moment(embeds: Tensor) -> _Moment | None:
    """What a plan depends on besides the very tensor; None where writes to it leave no mark."""
    if embeds.is_inference() or torch.is_inference_mode_enabled():
        return None
    kind = embeds.device.type
    autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    return embeds._version, torch.is_grad_enabled(), autocast


@dataclass(eq=False)
class _Batch:
    """What the hooks of one network have in common: the plan of this forward pass, and the last."""

    policy: Policy
    acting: _Plan | None = None
    kept: _Plan | None = None

    def enter(self, latents: Tensor, embeds: Tensor) -> _Plan:
        """The plan for a forward pass that begins, the last one if it still serves."""
        if self.kept is None or not self.kept.serves(latents, embeds):
            self.kept = None  # its memory is free before the next one is worked out
            self.kept = self._plan(latents, embeds)
        self.acting = self.kept
        return self.acting

    def leave(self) -> None:
        """The forward pass is over; forget a plan that must not be used again."""
        self.acting = None
        if self.kept is not None and self.kept.moment is None:
            self.kept = None

    def _plan(self, latents: Tensor, embeds: Tensor) -> _Plan:
        guided = self.policy.is_guided(len(latents), said=guidance_of_caller())
        if guided and not is_guided(latents):
            raise BackendError(
                f"the U-Net got {len(latents)} rows for {len(self.policy.paths)} prompts, yet they "
                "are not two equal halves as under guidance; give images_per_prompt as the "
                "pipeline gets it."
            )
        lanes, read = [], embeds
        for path, numbers in self.policy.rows(len(latents)).items():
            rows = torch.tensor(numbers, device=embeds.device)
            own = embeds[rows]
            text = path.guarded(own, guided=guided)
            lanes.append(_Lane(path, rows, own, text, path.inner(text)))
            if (mapped := path.mapped(text)) is not own:
                read = read.index_copy(0, rows, mapped)
        in_graph = any(tensor.requires_grad for tensor in (read, *(lane.text for lane in lanes)))
        return _Plan(embeds, None if in_graph else _moment(embeds), tuple(lanes), read)


@dataclass(eq=False)
class _Entrance:
    """Sorts the rows of a batch by their erased set, and maps their text embeddings."""

    batch: _Batch

    def __call__(self, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        plan = self.batch.enter(latents_of(args, kwargs), embeds_of(args, kwargs))
        return with_embeds(args, kwargs, plan.read)


@dataclass(eq=False)
class _Exit:
    """Ends what the entrance began, whether or not the U-Net succeeded."""

    batch: _Batch

    def __call__(self, network: nn.Module, args: object, output: object) -> None:
        self.batch.leave()


@dataclass(eq=False)
class _Output:
    """Changes the rows of what one module puts out: first as shifts would, then as guards do."""

    batch: _Batch
    name: str
    reads_text: bool

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        plan = self.batch.acting
        if plan is None:  # the module is used by itself, outside the network
            return output
        if addition := plan.addition(self.name, output.dtype):
            output.index_add_(0, *addition)  # in place: a linear layer owns its output
        for lane in plan.lanes:
            if (weight := lane.path.weights.get(self.name)) is not None:
                own = linear(args[0][lane.rows], weight, getattr(module, "bias", None))
                output.index_copy_(0, lane.rows, own)
            if any(self.name in guard.modules for guard, _ in lane.path.guards):
                own = self._guarded(lane, args[0], output[lane.rows])
                output = output.index_copy(0, lane.rows, own)
        return output

    def _guarded(self, lane: _Lane, given: Tensor, own: Tensor) -> Tensor:
        read = lane.text if self.reads_text else given[lane.rows]
        for guard, strength in lane.path.guards:
            if self.name in guard.modules:
                own = guard.output(self.name, read, own, lane.embeds, strength)
        return own
