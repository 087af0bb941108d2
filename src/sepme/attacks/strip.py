"""Stripping: whoever holds the original's text sites puts them back."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from sepme.attacks._weights import WeightVariants
from sepme.core.attack import AttackResult, Subject, Trial
from sepme.core.backend import CROSS_ATTN_KV


@dataclass(frozen=True, kw_only=True)
class Strip(WeightVariants):
    """Replace the erased model's text sites by the original's.

    Two ways lead there: the base can be downloaded, and a shift that was published can be
    subtracted. No change of weights withstands it: if the models differ at their text sites only
    (the fact ``changed_elsewhere`` is 0), what is drawn is what the original draws.

    Example:
        >>> Strip().access, Strip().control
        ('weights', True)
    """

    name: ClassVar[str] = "strip"
    paper: ClassVar[str] = "https://arxiv.org/abs/2402.05947"
    budget: ClassVar[int] = 1
    control: ClassVar[bool] = True

    def run(self, trial: Trial, *, budget: int | None = None, seed: int = 0) -> AttackResult:
        """Attack, as in the base class, and count the parameters that differ."""
        found = super().run(trial, budget=budget, seed=seed)
        theirs = dict(trial.original.unet.named_parameters())
        changed = {
            name: _is_text_site(name)
            for name, weight in trial.subject.unet.named_parameters()
            if not torch.equal(weight, theirs[name])
        }
        sites = sum(changed.values())
        facts = {"changed_sites": sites, "changed_elsewhere": len(changed) - sites}
        return replace(found, facts=facts, curve=())

    def _copies(self, trial: Trial, count: int, seed: int) -> Iterator[tuple[float, Subject]]:
        unet = copy.deepcopy(trial.subject.unet)
        for name, weight in trial.original.unet.named_parameters():
            if _is_text_site(name):
                unet.get_parameter(name).data.copy_(weight)
        yield 1.0, trial.subject.with_unet(unet)


def _is_text_site(parameter: str) -> bool:
    return re.fullmatch(CROSS_ATTN_KV, parameter.removesuffix(".weight")) is not None
