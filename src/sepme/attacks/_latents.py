"""What attacks on latents share: a run with the sampler in hand, tries until a success."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from sepme.attacks._examples import Tally, batches, check_above_0, effort_of
from sepme.core.attack import Access, Attack, AttackResult, Sampling, Subject, Trial
from sepme.errors import SpecError, shown

if TYPE_CHECKING:
    from PIL.Image import Image

Unit: TypeAlias = Literal["images", "steps"]
"""What effort is counted in."""

Draw: TypeAlias = Callable[[list[int], int], Tensor]
"""Places among the examples and the number of the turn to latents the subject decodes."""


class LatentAttack(Attack):
    """An attack with the sampler in hand; what it does is in ``_run``."""

    access: ClassVar[Access] = "image"
    unit: ClassVar[Unit] = "images"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_above_0(self)

    def run(self, trial: Trial, *, budget: int | None = None, seed: int = 0) -> AttackResult:
        """Attack, as in the base class."""
        effort = effort_of(self, budget)
        return self._run(trial, effort, seed) if trial.examples else AttackResult((), 0)

    @abstractmethod
    def _run(self, trial: Trial, effort: int, seed: int) -> AttackResult:
        """Attack at least one example."""

    def check_share(self, *names: str) -> None:
        """Refuse settings above 1."""
        for name in names:
            if getattr(self, name) > 1:
                raise SpecError(f"{name} must be at most 1, got {shown(getattr(self, name))}.")


def evenly(low: float, high: float, count: int) -> list[float]:
    """``count`` numbers from low to high in equal ratios; the highest if only one is wanted."""
    if count == 1:
        return [high]
    return [low * (high / low) ** (k / (count - 1)) for k in range(count)]


@torch.no_grad()
def best_of(trial: Trial, turns: int, draw: Draw) -> AttackResult:
    """Draw each example up to ``turns`` times, until the judge sees the concept."""
    tally = Tally(trial)
    for turn in range(turns):
        for places in batches(tally.standing(range(len(trial.examples)))):
            tally.judge(places, draw(places, turn), turn + 1)
    return tally.result(range(1, turns + 1))


@torch.no_grad()
def sweep(trial: Trial, settings: Sequence[float], draw: Draw) -> AttackResult:
    """Draw each example at each setting; the curve is the share at each, any success counts."""
    n = len(trial.examples)
    flags, curve = [False] * n, []
    for turn, setting in enumerate(settings):
        shows: list[bool] = []
        for places in batches(range(n)):
            shows += trial.judge(trial.subject.decode(draw(places, turn)))
        flags = [before or now for before, now in zip(flags, shows, strict=True)]
        curve.append((float(setting), sum(shows) / n))
    return AttackResult(tuple(flags), n * len(settings), curve=tuple(curve))


def encoded(subject: Subject, images: Sequence[Image]) -> Tensor:
    """Latents of images, a batch at a time."""
    return torch.cat(
        [subject.encode_images([images[i] for i in part]) for part in batches(range(len(images)))]
    )


@torch.no_grad()
def signal_levels(subject: Subject, steps: int) -> Tensor:
    """Share of the signal before each step of the sampler and after the last, ``(steps + 1,)``.

    The last is not in `alphas_cumprod`: schedules differ in it. The sampler itself tells, by what
    it makes of ones without noise.
    """
    levels = subject.alphas_cumprod[subject.timesteps(steps)]
    ones = torch.ones_like(subject.start_latents([0]))
    how = Sampling(
        steps=steps,
        start=steps - 1,
        guidance_scale=1.0,
        noise=lambda latents, t, noise: torch.zeros_like(noise),
    )
    grown = subject.sample(subject.encode([""]), ones, how).mean()
    return torch.cat([levels, (grown.square() * levels[-1]).clamp(max=1).view(1)])
