"""Best of n: the same prompt under further seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator

from sepme.attacks._prompts import PromptVariants
from sepme.core.attack import Example, Trial


@dataclass(frozen=True, kw_only=True)
class BestOfN(PromptVariants):
    """Draw the prompt again under up to ``budget`` further seeds; stop at the first success.

    It tells how far a success rate over one seed understates what a patient user gets.

    Example:
        >>> BestOfN().access, BestOfN().unit
        ('prompt', 'images')
    """

    name: ClassVar[str] = "best-of-n"
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.03556"
    budget: ClassVar[int] = 10
    rewords: ClassVar[bool] = False

    def _variants(
        self, trial: Trial, example: Example, budget: int, generator: Generator
    ) -> list[Example]:
        draws = torch.randint(2**31, (budget + 1,), generator=generator).tolist()
        return [Example(example.prompt, draw) for draw in draws if draw != example.seed]
