"""What hooks on a U-Net have in common: its modules, and what it is called with."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from sepme.errors import BaseMismatch, did_you_mean

Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of a U-Net, which takes either for each of its first three."""


def submodules(network: nn.Module, names: Iterable[str]) -> dict[str, nn.Module]:
    """Modules of a network by their paths.

    Args:
        network: A diffusers U-Net.
        names: Module paths.

    Returns:
        Path to module, in the order of the names, each once.

    Raises:
        BaseMismatch: If the network lacks one.
    """
    wanted = dict.fromkeys(names)
    modules = dict(network.named_modules()) if wanted else {}
    for name in wanted:
        if name not in modules:
            raise BaseMismatch(
                f"a guard acts on {name!r}, which this model does not have. Load the base it "
                f"was fitted on. {did_you_mean(name, modules)}"
            )
    return {name: modules[name] for name in wanted}


def latents_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The latents that a U-Net is called with, ``(n, channels, height, width)``."""
    latents: Tensor = args[0] if args else kwargs["sample"]
    return latents


def embeds_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The text embeddings that a U-Net is called with, ``(n, tokens, d_text)``."""
    named = "encoder_hidden_states" in kwargs
    embeds: Tensor = kwargs["encoder_hidden_states"] if named else args[2]
    return embeds


def with_embeds(args: tuple[Any, ...], kwargs: dict[str, Any], embeds: Tensor) -> Call:
    """The same call with other text embeddings."""
    if "encoder_hidden_states" in kwargs:
        return args, {**kwargs, "encoder_hidden_states": embeds}
    return (*args[:2], embeds, *args[3:]), kwargs


def is_guided(latents: Tensor) -> bool:
    """Whether a batch is one of classifier-free guidance: every latent twice, bit for bit."""
    half, odd = divmod(len(latents), 2)
    return not odd and bool((latents[:half] == latents[half:]).all())


@torch.compiler.disable  # type: ignore[untyped-decorator]  # it cannot trace the stack
def guidance_of_caller() -> bool | None:
    """Whether the diffusers pipeline that is calling uses classifier-free guidance.

    A pipeline keeps the guidance of its last drawing, and several may share one U-Net, so the one
    to ask is the one whose call is not over yet: the innermost on the stack.

    Returns:
        What it says; None if no pipeline is calling, or it does not say.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "__call__":
            caller = frame.f_locals.get("self")
            if isinstance(caller, DiffusionPipeline):
                said = getattr(caller, "do_classifier_free_guidance", None)
                return None if said is None else bool(said)
        frame = frame.f_back
    return None
