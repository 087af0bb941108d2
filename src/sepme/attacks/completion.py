"""Completion: the original model begins an image and the erased model finishes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sepme.attacks._examples import batches, drawn
from sepme.attacks._latents import LatentAttack, sweep
from sepme.core.attack import AttackResult, Example, Sampling, Subject, Trial


@dataclass(frozen=True, kw_only=True)
class Completion(LatentAttack):
    """Let the original model do the first ``t`` steps and the erased model the others.

    ``budget`` values of ``t``, evenly spaced up to ``until`` of all steps, are tried; the curve
    tells the success at each. The more steps the original does, the less is left to forget, so
    compare with what the original or the gold model finishes.

    Args:
        until: Largest share of the steps that the original does (paper: 5 and 10 of 50 steps).

    Raises:
        SpecError: If the share is not in 0..1.

    Example:
        >>> Completion().access, Completion().cheap
        ('image', True)
    """

    name: ClassVar[str] = "completion"
    paper: ClassVar[str] = "https://arxiv.org/abs/2505.17013"
    cheap: ClassVar[bool] = True
    control: ClassVar[bool] = True
    budget: ClassVar[int] = 5

    until: float = 0.4

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        self.check_share("until")

    def _run(self, trial: Trial, effort: int, seed: int) -> AttackResult:
        last = self.until * trial.steps
        stops = sorted({math.ceil(last * k / effort) for k in range(1, effort + 1)})
        begun = trajectory(trial.original, trial.examples, trial.steps, stops)

        def draw(places: list[int], turn: int) -> Tensor:
            part = [trial.examples[place] for place in places]
            return complete(trial.subject, part, begun[turn][places], stops[turn], trial.steps)

        return sweep(trial, stops, draw)


def trajectory(
    subject: Subject, examples: Sequence[Example], steps: int, stops: Sequence[int]
) -> list[Tensor]:
    """Latents of the plain sampler after some numbers of its steps.

    Args:
        subject: Who draws.
        examples: What.
        steps: Steps of the whole run.
        stops: After how many, not falling.

    Returns:
        ``(n, channels, height, width)`` for each stop.
    """
    parts = []
    for places in batches(range(len(examples))):
        part = [examples[place] for place in places]
        path = [subject.start_latents([example.seed for example in part])]

        def keep(latents: Tensor, _timestep: int, path: list[Tensor] = path) -> Tensor:
            path.append(latents)
            return latents

        drawn(subject, part, Sampling(steps=steps, stop=stops[-1], after=keep))
        parts.append([path[stop] for stop in stops])
    return [torch.cat(rows) for rows in zip(*parts, strict=True)]


def complete(
    subject: Subject, examples: list[Example], latents: Tensor, done: int, steps: int
) -> Tensor:
    """Latents of images that were begun elsewhere.

    Args:
        subject: Who finishes.
        examples: Whose prompts.
        latents: What there is after the steps done, ``(n, channels, height, width)``.
        done: How many steps were done.
        steps: Steps of the whole run.

    Returns:
        ``(n, channels, height, width)``.
    """
    embeds = subject.encode([example.prompt for example in examples])
    return subject.sample(embeds, latents, Sampling(steps=steps, start=done))
