"""LoRA merge: an unrelated adapter, made for the original model, merged into the erased one."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sepme.attacks._examples import check_above_0
from sepme.attacks._weights import RATES, WeightVariants, lesson, train, tunable
from sepme.core.attack import Subject, Trial


@dataclass(frozen=True, kw_only=True)
class LoraMerge(WeightVariants):
    """Merge an adapter that the original model was given for another subject, at some strengths.

    Args:
        prompt: What the adapter is trained for.
        strengths: Factors of the adapter's change, in this order.
        rank: Of the adapter.
        steps: Training steps of the adapter, on ``images`` images.
        images: Images the original model draws for ``prompt``.

    Raises:
        SpecError: If a number is not above 0, or there is no strength.

    Example:
        >>> LoraMerge().strengths
        (0.5, 1.0, 2.0)
    """

    name: ClassVar[str] = "lora-merge"
    paper: ClassVar[str] = "https://arxiv.org/abs/2106.09685"
    budget: ClassVar[int] = 3

    prompt: str = "a photo of a cat"
    strengths: tuple[float, ...] = (0.5, 1.0, 2.0)
    rank: int = 4
    steps: int = 60
    images: int = 8

    def __post_init__(self) -> None:
        """Check the settings."""
        check_above_0(self)

    def _copies(self, trial: Trial, count: int, seed: int) -> Iterator[tuple[float, Subject]]:
        changes = self._adapter(trial, seed)
        for strength in self.strengths[:count]:
            yield strength, merged(trial.subject, changes, strength)

    def _adapter(self, trial: Trial, seed: int) -> dict[str, Tensor]:
        taught = lesson(trial, [self.prompt], self.images, seed)
        unet = tunable(trial.original.unet, "lora", rank=self.rank, seed=seed)
        pupil, rate = trial.original.with_unet(unet), RATES["lora"]
        deque(train(pupil, taught, steps=self.steps, learning_rate=rate, batch=4, seed=seed), 0)
        return adapter_changes(unet)


def adapter_changes(unet: nn.Module) -> dict[str, Tensor]:
    """What a trained adapter adds to the weight of each module."""
    return {
        name: module.get_delta_weight("default").detach()
        for name, module in unet.named_modules()
        if hasattr(module, "get_delta_weight")
    }


@torch.no_grad()
def merged(subject: Subject, changes: Mapping[str, Tensor], strength: float) -> Subject:
    """The subject with ``strength`` times a change added to each weight.

    Args:
        subject: Left as it is.
        changes: Module path to change.
        strength: The factor.

    Returns:
        The changed copy.
    """
    unet = copy.deepcopy(subject.unet)
    for name, change in changes.items():
        unet.get_parameter(f"{name}.weight").add_(strength * change)
    return subject.with_unet(unet)
