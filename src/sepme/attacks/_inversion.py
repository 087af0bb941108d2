"""What inversion attacks share: the sampler backwards, and the scrambled control."""

from __future__ import annotations

import math
import statistics
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from sepme.attacks._examples import batches, plain_images, seed_of
from sepme.attacks._latents import LatentAttack, Unit, signal_levels
from sepme.core.attack import AttackResult, Example, Subject, Trial

if TYPE_CHECKING:
    import numpy.typing as npt

LEAST_SQUARE = 1 / 12
"""Mean square of rounding to whole numbers, so that equal images have a finite PSNR: 58.9 dB."""


def ddim_step(latents: Tensor, noise: Tensor, now: Tensor, then: Tensor) -> Tensor:
    """One step of the sampler from one share of the signal to another (Song et al., 2021)."""
    clean = (latents - (1 - now).sqrt() * noise) / now.sqrt()
    return then.sqrt() * clean + (1 - then).sqrt() * noise


@torch.no_grad()
def inverted(
    subject: Subject, clean: Tensor, embeds: Tensor, steps: int, iterations: int
) -> list[Tensor]:
    """Latents from which the sampler without guidance comes to ``clean``, at every step.

    A step backwards asks for the noise in the latents it is looking for. It starts with that in
    the latents it comes from (DDIM inversion) and goes on as a fixed-point iteration.

    Returns:
        ``steps + 1`` latents from noise to image.
    """
    levels, times = signal_levels(subject, steps), subject.timesteps(steps)
    path = [clean]
    for i in reversed(range(steps)):
        t = torch.full((len(clean),), times[i])
        latents = path[-1]
        for _ in range(iterations):
            noise = subject.predict_noise(latents, t, embeds)
            latents = ddim_step(path[-1], noise, levels[i + 1], levels[i])
        path.append(latents)
    return path[::-1]


def pixels_of(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Pixels of an image, ``(height, width, 3)``."""
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def scrambled(image: Image.Image, pieces: int, generator: Generator) -> Image.Image:
    """An image cut into ``pieces`` by ``pieces`` rectangles, which are put back in any order."""
    rows = [np.split(row, pieces, axis=1) for row in np.split(pixels_of(image), pieces)]
    cut = [piece for row in rows for piece in row]
    order = torch.randperm(len(cut), generator=generator).tolist()
    mixed = [cut[place] for place in order]
    lines = [np.concatenate(mixed[i : i + pieces], axis=1) for i in range(0, len(mixed), pieces)]
    return Image.fromarray(np.concatenate(lines))


def psnr(image: Image.Image, reference: Image.Image) -> float:
    """Peak signal-to-noise ratio in dB, at most that of rounding."""
    apart = pixels_of(image).astype(np.float64) - pixels_of(reference)
    return 10 * math.log10(255**2 / max(float(np.square(apart).mean()), LEAST_SQUARE))


class InversionAttack(LatentAttack):
    """Finds what makes the erased model draw a given image, and draws it from that.

    Inversion may bring back anything, so the same is done to the image with its pieces shuffled,
    which no model was ever taught. PSNRs are medians, against what the autoencoder makes of the
    image, the most any latents can reach.
    """

    unit: ClassVar[Unit] = "steps"
    control: ClassVar[bool] = True
    pieces: int

    def _run(self, trial: Trial, effort: int, seed: int) -> AttackResult:
        images = plain_images(trial.original, trial.examples, trial.steps)
        mixed = [
            scrambled(image, self.pieces, Generator().manual_seed(seed_of(example, seed)))
            for image, example in zip(images, trial.examples, strict=True)
        ]
        flags, ratios = self._back(trial, images, effort)
        control, control_ratios = self._back(trial, mixed, effort)
        facts = {
            "psnr": statistics.median(ratios),
            "psnr_scrambled": statistics.median(control_ratios),
            "share_scrambled": sum(control) / len(control),
        }
        return AttackResult(tuple(flags), len(flags) + len(control), facts=facts)

    def _back(
        self, trial: Trial, images: Sequence[Image.Image], effort: int
    ) -> tuple[list[bool], list[float]]:
        """Whether each image shows the concept when it is drawn again, and its PSNR."""
        flags: list[bool] = []
        ratios: list[float] = []
        for places in batches(range(len(images))):
            part = [trial.examples[place] for place in places]
            clean = trial.original.encode_images([images[place] for place in places])
            found = self._regenerate(trial.subject, part, clean, trial.steps, effort)
            drawn = trial.subject.decode(found)
            flags += trial.judge(drawn)
            ratios += map(psnr, drawn, trial.original.decode(clean))
        return flags, ratios

    @abstractmethod
    def _regenerate(
        self, subject: Subject, examples: Sequence[Example], clean: Tensor, steps: int, effort: int
    ) -> Tensor:
        """Latents of images as near as possible to clean ones."""
