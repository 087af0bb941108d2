"""Every subset of some shifts, reached in any order, in weights and in noise."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from sepme.bench.fits import view
from sepme.core.backend import Backend
from sepme.core.compose import compose, guards_of, sites_of
from sepme.core.concept import Concept
from sepme.core.shift import ConceptShift
from sepme.pipeline import ErasedPipeline

TIMESTEPS = 4
"""Timesteps, evenly spaced, at which noise is compared."""

Shifts = tuple[ConceptShift, ...]


def subsets(shifts: Sequence[ConceptShift]) -> Iterator[Shifts]:
    """All ``2^n`` subsets, smaller ones first.

    Args:
        shifts: ``n`` shifts.
    """
    for size in range(len(shifts) + 1):
        yield from combinations(shifts, size)


def name_of(subset: Sequence[ConceptShift]) -> str:
    """Names joined by ``+``; ``none`` for the empty subset.

    Args:
        subset: Some shifts.
    """
    return "+".join(shift.name for shift in subset) or "none"


def order_error(
    model: ErasedPipeline, shifts: Sequence[ConceptShift], subset: Shifts, *, draw: random.Random
) -> float:
    """Largest difference of any weight between composing a subset and arriving at it.

    Everything is erased in a random order, then what is not in the subset is given back in
    another one.

    Args:
        model: A model with nothing erased.
        shifts: All shifts.
        subset: Some of them.
        draw: Draws the orders.

    Returns:
        Largest absolute difference, in units of the weights; 0 if all bits agree, and at
        least 1 if other guards are in force.
    """
    pairs = [(shift, 1.0) for shift in subset]
    wanted = compose(sites_of(model, subset), pairs)
    arriving, leaving = list(shifts), [shift.name for shift in shifts if shift not in subset]
    draw.shuffle(arriving)
    draw.shuffle(leaving)
    walker = view(model)
    try:
        for shift in arriving:
            walker.erase(shift, allow_interference=True)
        for name in leaving:
            walker.restore(name)
        other = walker.backend.guards != guards_of(pairs)
        return max(_apart(walker.backend.live(), wanted), float(other))
    finally:
        if walker.erased:
            walker.restore(*walker.erased)


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """What the original predicts for a concept's own prompts at fixed noised latents.

    Attributes:
        latents: ``(n, channels, height, width)``.
        timesteps: ``(n,)``.
        embeds: ``(n, tokens, d_text)``.
        noise: The original's prediction, as ``latents``.
    """

    latents: Tensor
    timesteps: Tensor
    embeds: Tensor
    noise: Tensor

    @torch.no_grad()
    def change(self, model: Backend, shifts: Sequence[ConceptShift]) -> list[float]:
        """Relative change of the predicted noise, ``|e' - e| / |e|``, for each latent.

        Args:
            model: The model.
            shifts: What is erased.

        Returns:
            ``n`` figures, at least 0 (dimensionless).
        """
        pairs, base = [(shift, 1.0) for shift in shifts], sites_of(model, shifts)
        live = compose(base, pairs)
        deltas = {site: live[site].double() - weight.double() for site, weight in base.items()}
        given = (self.latents, self.timesteps, self.embeds)
        moved = model.predict_noise(*given, deltas=deltas, guards=guards_of(pairs))
        apart = (moved - self.noise).flatten(1).norm(dim=1) / self.noise.flatten(1).norm(dim=1)
        figures: list[float] = apart.tolist()
        return figures


@torch.no_grad()
def probe(model: Backend, concept: Concept, *, seed: int) -> Probe:
    """Noised latents of images the original draws for a concept's prompts.

    Args:
        model: The model.
        concept: The concept.
        seed: Seed of images and noise.
    """
    prompts = [prompt for prompt in concept.prompts for _ in range(TIMESTEPS)]
    images = model.draw_latents(concept.prompts, seeds=[seed] * len(concept.prompts))
    latents = images.repeat_interleave(TIMESTEPS, dim=0)
    last = model.num_train_timesteps - 1
    times = torch.linspace(0.05 * last, 0.95 * last, TIMESTEPS).long().repeat(len(concept.prompts))
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
    times, noise = times.to(latents.device), noise.to(latents)
    noised, embeds = model.add_noise(latents, noise, times), model.encode(prompts)
    return Probe(noised, times, embeds, model.predict_noise(noised, times, embeds))


def _apart(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    return max(float((a[site].double() - b[site].double()).abs().max()) for site in b)
