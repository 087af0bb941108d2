"""Noised images of a concept with the region of each where it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sepme.core.backend import Backend
from sepme.methods._attention import attention_masks
from sepme.methods._batches import Batches, Rows
from sepme.methods._context import Context

_AT_ONCE = 16
"""Masks made in one batch."""


@dataclass(frozen=True, slots=True, eq=False)
class Region(Rows):
    """Noised images of a concept, the tokens that say it, and where it is drawn.

    Attributes:
        latents: ``(n, channels, height, width)``.
        timesteps: ``(n,)``.
        embeds: ``(n, tokens, d_text)``.
        columns: 1 for the tokens that say the concept, else 0, ``(n, tokens)``.
        mask: 1 for the pixels where it is drawn, else 0, ``(n, height, width)``.
    """

    latents: Tensor
    timesteps: Tensor
    embeds: Tensor
    columns: Tensor
    mask: Tensor


@torch.no_grad()
def regions(
    model: Backend,
    context: Context,
    *,
    images: int,
    size: int,
    batch: int,
    threshold: float,
    seed: int,
) -> Batches[Region]:
    """Endless batches of noised images that the pristine model drew for a concept.

    Args:
        model: The model.
        context: Sentences about the concept, drawn in turn.
        images: Images to draw, at most ``size`` of them.
        size: Noised latents to make from them.
        batch: Noised latents a batch.
        threshold: Least attention of a pixel, as for `attention_masks`.
        seed: Seed of images, timesteps, noise and order.

    Returns:
        The batches.
    """
    generator = torch.Generator().manual_seed(seed)
    images = min(images, size)
    turns = torch.arange(images) % len(context.prompts)
    asked = [context.prompts[turn] for turn in turns]
    drawn = model.draw_latents(asked, seeds=[seed + i for i in range(images)])
    pick = torch.arange(size) % images
    when = timesteps_between(size, model.num_train_timesteps, generator).to(drawn.device)
    noise = torch.randn(size, *drawn.shape[1:], generator=generator).to(drawn)
    latents = model.add_noise(drawn[pick.to(drawn.device)], noise, when)
    named = (context.embeds, context.columns)
    embeds, columns = (part[turns[pick]].to(drawn.device) for part in named)
    masks = concept_masks(model, latents, when, embeds, columns, threshold)
    return Batches(Region(latents, when, embeds, columns, masks), batch, seed=seed)


@torch.no_grad()
def concept_masks(
    model: Backend,
    latents: Tensor,
    timesteps: Tensor,
    embeds: Tensor,
    columns: Tensor,
    threshold: float,
) -> Tensor:
    """Where the pristine model looks at some tokens, in batches.

    Args:
        model: The model.
        latents: ``(n, channels, height, width)``.
        timesteps: ``(n,)``.
        embeds: ``(n, tokens, d_text)``.
        columns: 1 for the tokens that count, else 0, ``(n, tokens)``.
        threshold: Least attention of a pixel, as for `attention_masks`.

    Returns:
        1 for the pixels that count, else 0, ``(n, height, width)``.
    """
    parts = (torch.split(part, _AT_ONCE) for part in (latents, timesteps, embeds, columns))
    masks = [
        attention_masks(model.attend(*part), chosen, latents.shape[-2:], threshold)
        for *part, chosen in zip(*parts, strict=True)
    ]
    return torch.cat(masks)


def timesteps_between(size: int, total: int, generator: torch.Generator) -> Tensor:
    """Timesteps from a smooth window over the later part of denoising (MACE).

    The density is ``sigmoid(0.05 (t - 200)) - sigmoid(0.05 (t - 400))`` for 1000 timesteps, and
    the same shape for another number of them.

    Args:
        size: How many.
        total: Number of timesteps the model was trained with.
        generator: Source of randomness.

    Returns:
        ``(size,)``, integers.
    """
    t = torch.arange(total) * (1000 / total)
    density = torch.sigmoid(0.05 * (t - 200)) - torch.sigmoid(0.05 * (t - 400))
    return torch.multinomial(density, size, replacement=True, generator=generator)
