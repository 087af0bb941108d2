"""Img2img: the erased model redraws a noised image of the concept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sepme.attacks._examples import noised, plain_images, seed_of
from sepme.attacks._latents import LatentAttack, encoded, sweep
from sepme.core.attack import AttackResult, Example, Sampling, Subject, Trial
from sepme.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Img2Img(LatentAttack):
    """Noise the original's image to a part of the schedule and let the erased model denoise it.

    ``budget`` strengths, evenly spaced from ``weakest`` to ``strongest``, are tried; the curve
    tells the success at each. A strength is the share of the steps that the erased model does: at
    1 nothing but a trace of the image is left, near 0 the image comes back whatever the model
    knows. So compare with what the original or the gold model redraws.

    Args:
        weakest: Smallest strength.
        strongest: Largest strength.

    Raises:
        SpecError: If they are not in 0..1, or the weakest is stronger than the strongest.

    Example:
        >>> Img2Img(weakest=0.5).weakest, Img2Img().strongest
        (0.5, 0.9)
    """

    name: ClassVar[str] = "img2img"
    paper: ClassVar[str] = "https://arxiv.org/abs/2108.01073"
    control: ClassVar[bool] = True
    budget: ClassVar[int] = 4

    weakest: float = 0.6
    strongest: float = 0.9

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        self.check_share("weakest", "strongest")
        if self.weakest > self.strongest:
            raise SpecError(
                f"strongest must be at least weakest, got {self.strongest} and {self.weakest}."
            )

    def _run(self, trial: Trial, effort: int, seed: int) -> AttackResult:
        step = (self.strongest - self.weakest) / max(effort - 1, 1)
        strengths = [self.strongest - step * k for k in reversed(range(effort))]
        images = plain_images(trial.original, trial.examples, trial.steps)
        clean = encoded(trial.original, images)

        def draw(places: list[int], turn: int) -> Tensor:
            part = [trial.examples[place] for place in places]
            noise = trial.subject.start_latents([seed_of(e, seed, turn) for e in part])
            return redraw(trial.subject, part, clean[places], noise, strengths[turn], trial.steps)

        return sweep(trial, strengths, draw)


def redraw(
    subject: Subject,
    examples: list[Example],
    clean: Tensor,
    noise: Tensor,
    strength: float,
    steps: int,
) -> Tensor:
    """Latents of images redrawn under the examples' prompts.

    Args:
        subject: Who redraws.
        examples: Whose prompts.
        clean: Latents of the images, ``(n, channels, height, width)``.
        noise: The noise to put in, same shape.
        strength: Share of the steps to do, above 0 and up to 1.
        steps: Steps of a whole run.

    Returns:
        ``(n, channels, height, width)``.
    """
    start = steps - max(1, round(strength * steps))
    kept = subject.alphas_cumprod[subject.timesteps(steps)[start]]
    embeds = subject.encode([example.prompt for example in examples])
    return subject.sample(embeds, noised(clean, noise, kept), Sampling(steps=steps, start=start))
