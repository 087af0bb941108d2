"""Null-text inversion: blank embeddings, one a step, that lead to an image of the concept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sepme.attacks._inversion import InversionAttack, ddim_step, inverted
from sepme.attacks._latents import signal_levels
from sepme.core.attack import Access, Example, Sampling, Subject


@dataclass(frozen=True, kw_only=True)
class NullTextInversion(InversionAttack):
    """Invert the original's image without text, then learn blank embeddings that lead back.

    The image is inverted under the blank prompt by plain DDIM inversion, which drifts. At each
    step forwards, ``budget`` updates of the blank embedding ``b`` draw the next latents to those
    of the inversion: ``min_b || DDIM(x_t, eps(x_t, b)) - x*_{t-1} ||^2``. The image is then drawn
    from these embeddings alone: no word of the concept is used anywhere.

    Args:
        learning_rate: Of Adam (null-text inversion: 0.01).
        pieces: The scrambled control has its image cut into ``pieces`` by ``pieces`` parts.

    Raises:
        SpecError: If a value is not above 0.

    Example:
        >>> NullTextInversion().access, NullTextInversion().control
        ('embedding', True)
    """

    name: ClassVar[str] = "null-text-inversion"
    paper: ClassVar[str] = "https://arxiv.org/abs/2211.09794"
    access: ClassVar[Access] = "embedding"
    budget: ClassVar[int] = 5

    learning_rate: float = 0.01
    pieces: int = 8

    def _regenerate(
        self, subject: Subject, examples: Sequence[Example], clean: Tensor, steps: int, effort: int
    ) -> Tensor:
        blank = subject.encode([""]).expand(len(clean), -1, -1)
        path = inverted(subject, clean, blank, steps, 1)
        blanks = self._learned(subject, path, blank, effort)
        how = Sampling(steps=steps, blank_embeds=blanks, guidance_scale=0.0)
        with torch.no_grad():
            return subject.sample(blank, path[0], how)

    def _learned(
        self, subject: Subject, path: Sequence[Tensor], blank: Tensor, effort: int
    ) -> list[Tensor]:
        """An embedding for each step, each learned from the one before."""
        steps = len(path) - 1
        times, levels = subject.timesteps(steps), signal_levels(subject, steps)
        latents, blanks = path[0], []
        for i in range(steps):
            t = torch.full((len(latents),), times[i])
            blank = blank.detach().clone().requires_grad_()
            adam = torch.optim.Adam([blank], lr=self.learning_rate)
            for _ in range(effort):
                noise = subject.predict_noise(latents, t, blank)
                apart = ddim_step(latents, noise, levels[i], levels[i + 1]) - path[i + 1]
                loss = apart.square().mean((1, 2, 3)).sum()
                (blank.grad,) = torch.autograd.grad(loss, blank)
                adam.step()
            blank = blank.detach()
            blanks.append(blank)
            with torch.no_grad():
                noise = subject.predict_noise(latents, t, blank)
                latents = ddim_step(latents, noise, levels[i], levels[i + 1])
        return blanks
