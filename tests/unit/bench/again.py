"""An attack that draws the same prompt once more, with the next seed or with the original."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from sepme.core.attack import Attack, AttackResult, Sampling, Trial


@dataclass(frozen=True)
class Again(Attack):
    name: ClassVar[str] = "again"
    paper: ClassVar[str] = ""
    access: ClassVar[str] = "prompt"
    cheap: ClassVar[bool] = True
    budget: ClassVar[int] = 1
    unit: ClassVar[str] = "images"
    cheat: bool = False

    @torch.no_grad()
    def run(self, trial: Trial, *, budget: int | None = None, seed: int = 0) -> AttackResult:
        if not trial.examples:
            return AttackResult((), 0)
        who = trial.original if self.cheat else trial.subject
        seeds: Sequence[int] = [example.seed + 1 + seed for example in trial.examples]
        embeds = who.encode([example.prompt for example in trial.examples])
        drawn = who.sample(embeds, who.start_latents(seeds), Sampling(steps=trial.steps))
        return AttackResult(tuple(trial.judge(who.decode(drawn))), len(seeds), curve=((1.0, 0.5),))


@dataclass(frozen=True)
class Cheat(Again):
    name: ClassVar[str] = "cheat"
    cheap: ClassVar[bool] = False
    cheat: bool = True
