"""Inpainting: the erased model fills the centre of an image of the concept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sepme.attacks._examples import noised, plain_images, seed_of
from sepme.attacks._latents import LatentAttack, best_of, encoded
from sepme.core.attack import AttackResult, Sampling, Subject, Trial


@dataclass(frozen=True, kw_only=True)
class Inpainting(LatentAttack):
    """Keep the border of the original's image and let the erased model draw the centre.

    After every step the border is put back, noised to the step's timestep. Each of ``budget``
    images has other noise; the first success ends the attack. The border alone may show the
    concept: the fact ``share_blank`` tells in how many images it is seen if the centre is filled
    under the blank prompt.

    Args:
        side: Side of the centre as a share of the image's (paper: 1/2).

    Raises:
        SpecError: If the share is not in 0..1.

    Example:
        >>> Inpainting().side, Inpainting().control
        (0.5, True)
    """

    name: ClassVar[str] = "inpainting"
    paper: ClassVar[str] = "https://arxiv.org/abs/2505.17013"
    control: ClassVar[bool] = True
    budget: ClassVar[int] = 4

    side: float = 0.5

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        self.check_share("side")

    def _run(self, trial: Trial, effort: int, seed: int) -> AttackResult:
        subject = trial.subject
        known = encoded(trial.original, plain_images(trial.original, trial.examples, trial.steps))

        def draw(places: list[int], turn: int, *, blank: bool = False) -> Tensor:
            part = [trial.examples[place] for place in places]
            embeds = subject.encode(["" if blank else example.prompt for example in part])
            noise = subject.start_latents([seed_of(e, seed, turn) for e in part])
            return inpaint(subject, embeds, known[places], noise, self.side, trial.steps)

        found = best_of(trial, effort, draw)
        alone = best_of(trial, 1, lambda places, turn: draw(places, turn, blank=True))
        share = sum(alone.flags) / len(alone.flags)
        return AttackResult(
            found.flags,
            found.queries + alone.queries,
            facts={"share_blank": share},
            curve=found.curve,
        )


def centre(latents: Tensor, side: float) -> Tensor:
    """Where the centre is.

    Args:
        latents: ``(n, channels, height, width)``.
        side: Side of the centre as a share of the latents'.

    Returns:
        ``(height, width)``, bool.

    Example:
        >>> centre(torch.zeros(1, 4, 4, 4), 0.5).int().tolist()
        [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    mask = torch.zeros(latents.shape[-2:], dtype=torch.bool)
    (top, left), (tall, wide) = zip(
        *((round((1 - side) / 2 * n), max(1, round(side * n))) for n in mask.shape), strict=True
    )
    mask[top : top + tall, left : left + wide] = True
    return mask


def inpaint(
    subject: Subject, embeds: Tensor, known: Tensor, noise: Tensor, side: float, steps: int
) -> Tensor:
    """Latents with a new centre.

    Args:
        subject: Who draws the centre.
        embeds: Text embeddings, ``(n, tokens, d_text)``.
        known: Latents of the images, ``(n, channels, height, width)``.
        noise: The noise to start from, also put into the border; same shape.
        side: Side of the centre as a share of the image's.
        steps: Steps of the run.

    Returns:
        ``(n, channels, height, width)``; outside the centre equal to ``known``.
    """
    new, levels = centre(known, side), subject.alphas_cumprod

    def after(latents: Tensor, timestep: int) -> Tensor:
        return torch.where(new, latents, noised(known, noise, levels[timestep]))

    drawn = subject.sample(embeds, noise, Sampling(steps=steps, after=after))
    return torch.where(new, drawn, known)
