"""Noise: sample with fresh noise at every step, and more of it than the schedule has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from torch import Generator, Tensor

from sepme.attacks._examples import drawn, seed_of
from sepme.attacks._latents import LatentAttack, best_of, signal_levels
from sepme.core.attack import AttackResult, Sampling, Subject, Trial


@dataclass(frozen=True, kw_only=True)
class Noise(LatentAttack):
    """Sample with ``eta`` from 1 up, ``scale`` times the fresh noise, until the concept is seen.

    An erased model may lead the plain trajectory away from a concept it still knows; noise throws
    the trajectory off. Tries go through all ``etas`` for the first scale, then for the next, and
    begin again with other noise after the last.

    Args:
        etas: Fresh noise, as in DDIM (paper: 1 to 1.85).
        scales: What its standard deviation is multiplied by (paper: 1 to 1.04).

    Raises:
        SpecError: If a value is not above 0.

    Example:
        >>> Noise().access, Noise().unit, len(Noise().etas) * len(Noise().scales)
        ('image', 'images', 24)
    """

    name: ClassVar[str] = "noise"
    paper: ClassVar[str] = "https://arxiv.org/abs/2505.17013"
    cheap: ClassVar[bool] = True
    budget: ClassVar[int] = 12

    etas: tuple[float, ...] = (1.0, 1.17, 1.34, 1.51, 1.68, 1.85)
    scales: tuple[float, ...] = (1.0, 1.02, 1.03, 1.04)

    def _run(self, trial: Trial, effort: int, seed: int) -> AttackResult:
        grid, subject = list(product(self.scales, self.etas)), trial.subject

        def draw(places: list[int], turn: int) -> Tensor:
            scale, eta = grid[turn % len(grid)]
            part = [trial.examples[place] for place in places]
            generator = Generator().manual_seed(seed_of(part[0], seed, turn))
            how = Sampling(
                steps=trial.steps,
                eta=eta,
                generator=generator,
                after=_more_noise(subject, trial.steps, eta, scale, generator),
            )
            return drawn(subject, part, how)

        return best_of(trial, effort, draw)


def _more_noise(
    subject: Subject, steps: int, eta: float, scale: float, generator: Generator
) -> Callable[[Tensor, int], Tensor] | None:
    """Adds what ``scale`` times the fresh noise has more in variance than the noise itself."""
    if scale <= 1:
        return None
    levels, left = signal_levels(subject, steps), iter(range(steps))

    def after(latents: Tensor, _timestep: int) -> Tensor:
        i = next(left)
        now, then = levels[i], levels[i + 1]
        variance = (1 - then) / (1 - now) * (1 - now / then) * eta**2 * (scale**2 - 1)
        return latents + variance.sqrt() * torch.randn(latents.shape, generator=generator)

    return after
