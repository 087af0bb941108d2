"""Relearning: fine-tuning on a few images of what was erased."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sepme.attacks._weights import Relearning
from sepme.core.attack import Trial


@dataclass(frozen=True, kw_only=True)
class Relearn(Relearning):
    """Fine-tune the erased U-Net on images the original model draws for the concept's prompts.

    Any model can be taught anything, so the figure means something only beside that of a model
    that has never seen the concept.

    Example:
        >>> Relearn().shots, Relearn().access
        ((1, 4, 16), 'weights')
    """

    name: ClassVar[str] = "relearn"
    paper: ClassVar[str] = "https://arxiv.org/abs/2410.12777"
    budget: ClassVar[int] = 100
    control: ClassVar[bool] = True

    def _prompts(self, trial: Trial) -> Sequence[str]:
        return trial.concept.prompts
