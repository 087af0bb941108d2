"""Noised latents to learn from, with what the pristine model says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sepme.core.backend import Backend
from sepme.core.concept import BLANK, Concept
from sepme.errors import Diverged, SpecError
from sepme.methods._batches import Rows

_AT_ONCE = 16
"""Frozen predictions made in one batch."""


@dataclass(frozen=True, slots=True, eq=False)
class Noised(Rows):
    """Noised latents of images that the pristine model draws for some prompts.

    Attributes:
        latents: ``x_t``, ``(n, channels, height, width)``.
        timesteps: ``(n,)``.
        noise: What was added, same shape as ``latents``.
        prompts: Which prompt each image was drawn for, ``(n,)``.
    """

    latents: Tensor
    timesteps: Tensor
    noise: Tensor
    prompts: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class FrozenPool(Rows):
    """Noised latents of a concept with everything the pristine model says of them.

    Attributes:
        latents: ``x_t``, ``(n, channels, height, width)``.
        timesteps: ``(n,)``.
        embeds: The prompt each image was drawn for, ``(n, tokens, d_text)``.
        blank: ``eps(x_t, "")``, same shape as ``latents``, float32.
        representation: ``r_c = eps(x_t, c) - eps(x_t, "")`` (SRS-ME, eq. 27), float32.
    """

    latents: Tensor
    timesteps: Tensor
    embeds: Tensor
    blank: Tensor
    representation: Tensor


@torch.no_grad()
def noised_images(
    model: Backend, prompts: Sequence[str], *, images: int, size: int, bins: int, seed: int
) -> Noised:
    """Noise images the pristine model draws for some prompts, as `frozen_pool` describes."""
    images = min(images, size)
    turns = torch.arange(images) % len(prompts)
    asked = [prompts[turn] for turn in turns]
    drawn = model.draw_latents(asked, seeds=[seed + i for i in range(images)])
    return noised_latents(model, drawn, turns, size=size, bins=bins, seed=seed)


@torch.no_grad()
def noised_latents(
    model: Backend, drawn: Tensor, turns: Tensor, *, size: int, bins: int, seed: int
) -> Noised:
    """Noise latents of images, each in turn, at timesteps drawn as `frozen_pool` describes."""
    generator = torch.Generator().manual_seed(seed)
    pick = torch.arange(size) % len(turns)
    timesteps = _timesteps(size, bins, model.num_train_timesteps, generator).to(drawn.device)
    noise = torch.randn(size, *drawn.shape[1:], generator=generator).to(drawn)
    latents = model.add_noise(drawn[pick.to(drawn.device)], noise, timesteps)
    return Noised(latents, timesteps, noise, turns[pick].to(drawn.device))


@torch.no_grad()
def frozen_pool(
    model: Backend, concept: Concept, *, images: int, size: int, bins: int, seed: int
) -> FrozenPool:
    """Noise images the pristine model draws for a concept and record its predictions.

    Neither the blank noise nor the pristine representation changes while a shift is trained, so
    both are computed once, in batches.

    Args:
        model: The model.
        concept: Its prompts are drawn in turn.
        images: Images to draw, at most ``size`` of them.
        size: Noised latents to make from them.
        bins: Timesteps come from this many equal bins, one chosen at random, then uniformly
            inside it.
        seed: Seed of images, timesteps and noise.

    Returns:
        The pool.

    Raises:
        SpecError: If there are more bins than timesteps.
        Diverged: If the pristine model itself predicts numbers that are not finite.
    """
    noised = noised_images(model, concept.prompts, images=images, size=size, bins=bins, seed=seed)
    embeds = model.encode(concept.prompts)[noised.prompts]
    empty = model.encode(BLANK.prompts).expand(size, -1, -1)
    latents, timesteps = noised.latents, noised.timesteps
    blank, target = (pristine_noise(model, latents, timesteps, text) for text in (empty, embeds))
    if not torch.isfinite(blank).all() or not torch.isfinite(target).all():
        raise Diverged(
            f"the model as it is predicts numbers that are not finite for {concept.prompts[0]!r}. "
            "Load it in float32."
        )
    return FrozenPool(latents, timesteps, embeds, blank, target - blank)


def _timesteps(size: int, bins: int, total: int, generator: torch.Generator) -> Tensor:
    if bins > total:
        raise SpecError(f"bins must be at most the model's {total} timesteps, got {bins}.")
    width = total // bins
    chosen = torch.randint(bins, (size,), generator=generator)
    return chosen * width + torch.randint(width, (size,), generator=generator)


@torch.no_grad()
def pristine_noise(model: Backend, latents: Tensor, timesteps: Tensor, embeds: Tensor) -> Tensor:
    """What the pristine model predicts, in batches, float32."""
    parts = (torch.split(part, _AT_ONCE) for part in (latents, timesteps, embeds))
    return torch.cat([model.predict_noise(*part).float() for part in zip(*parts, strict=True)])
