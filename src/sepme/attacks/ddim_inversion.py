"""DDIM inversion: the noise from which the erased model draws a given image of the concept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sepme.attacks._inversion import InversionAttack, inverted
from sepme.core.attack import Example, Sampling, Subject


@dataclass(frozen=True, kw_only=True)
class DDIMInversion(InversionAttack):
    """Run the erased model's sampler backwards from the original's image, then forwards again.

    Both ways go without guidance under the example's prompt. A step backwards is a fixed-point
    iteration of ``budget`` rounds.

    Args:
        pieces: The scrambled control has its image cut into ``pieces`` by ``pieces`` parts.

    Raises:
        SpecError: If the value is not above 0.

    Example:
        >>> DDIMInversion().access, DDIMInversion().control
        ('image', True)
    """

    name: ClassVar[str] = "ddim-inversion"
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.00782"
    budget: ClassVar[int] = 5

    pieces: int = 8

    @torch.no_grad()
    def _regenerate(
        self, subject: Subject, examples: Sequence[Example], clean: Tensor, steps: int, effort: int
    ) -> Tensor:
        embeds = subject.encode([example.prompt for example in examples])
        noise = inverted(subject, clean, embeds, steps, effort)[0]
        return subject.sample(embeds, noise, Sampling(steps=steps, guidance_scale=1.0))
