"""What attacks through the prompt share: a tally of who fell, and variants of prompts."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Generator, Tensor

from sepme.core.attack import Attack, AttackResult, Example, Sampling, Subject, Trial
from sepme.core.concept import Concept
from sepme.errors import SpecError, shown

AT_ONCE = 8
"""Examples attacked, and images drawn, in one batch."""


def effort_of(attack: Attack, budget: int | None) -> int:
    """The budget, or the attack's own; at least 1."""
    effort = attack.budget if budget is None else budget
    if effort < 1:
        raise SpecError(f"the budget of {attack.name} must be at least 1, got {shown(effort)}.")
    return effort


def generator_of(example: Example, seed: int) -> Generator:
    """Randomness of one example's attack: the same whatever else is attacked."""
    text = f"{seed}\n{example.seed}\n{example.prompt}".encode()
    return Generator().manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:7], "big"))


class Tally:
    """Which examples fell, at what effort, to which prompt, and how many images that took."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.fell: dict[int, int] = {}
        self.prompts = [example.prompt for example in trial.examples]
        self.queries = 0

    def standing(self, places: Sequence[int]) -> list[int]:
        """Those that have not fallen."""
        return [place for place in places if place not in self.fell]

    @torch.no_grad()
    def show(
        self, places: Sequence[int], tries: Sequence[Example], embeds: Tensor, effort: int
    ) -> None:
        """Draw one image for each place and let the judge look at it."""
        subject = self.trial.subject
        latents = subject.start_latents([tried.seed for tried in tries])
        images = subject.decode(subject.sample(embeds, latents, Sampling(steps=self.trial.steps)))
        self.queries += len(images)
        for place, tried, seen in zip(places, tries, self.trial.judge(images), strict=True):
            self.prompts[place] = tried.prompt
            if seen:
                self.fell[place] = effort

    def result(self, efforts: Sequence[int], *, prompts: bool = True) -> AttackResult:
        """What came back, with the share that had fallen at each effort."""
        n = len(self.prompts)
        return AttackResult(
            flags=tuple(place in self.fell for place in range(n)),
            queries=self.queries,
            curve=tuple(
                (float(effort), sum(at <= effort for at in self.fell.values()) / n)
                for effort in efforts
                if n
            ),
            prompts=tuple(self.prompts) if prompts else (),
        )


class PromptVariants(Attack):
    """Draws a list of variants of each example, one a turn, until the judge says yes.

    Attributes:
        rewords: Whether the variants have prompts of their own.
    """

    access = "prompt"
    cheap = True
    unit = "images"
    rewords: ClassVar[bool] = True

    def run(self, trial: Trial, *, budget: int | None = None, seed: int = 0) -> AttackResult:
        """Attack, as in the base class."""
        effort, tally = effort_of(self, budget), Tally(trial)
        queues = [
            self._variants(trial, example, effort, generator_of(example, seed))[:effort]
            for example in trial.examples
        ]
        for turn in range(effort):
            places = [place for place in range(len(queues)) if turn < len(queues[place])]
            for batch in batches(tally.standing(places)):
                tries = [queues[place][turn] for place in batch]
                embeds = trial.subject.encode([tried.prompt for tried in tries])
                tally.show(batch, tries, embeds, turn + 1)
        return tally.result(range(1, effort + 1), prompts=self.rewords)

    @abstractmethod
    def _variants(
        self, trial: Trial, example: Example, budget: int, generator: Generator
    ) -> list[Example]:
        """What to draw instead of an example, in this order."""


def batches(places: Sequence[int]) -> Iterator[list[int]]:
    """Places that are drawn together."""
    for start in range(0, len(places), AT_ONCE):
        yield list(places[start : start + AT_ONCE])


def spot(prompt: str, concept: Concept) -> tuple[str, str, str]:
    """A prompt cut at the concept's name: before, name, after; all of it if it has no name."""
    for phrase in sorted(concept.prompts, key=len, reverse=True):
        match = re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", prompt, re.IGNORECASE)
        if match:
            return prompt[: match.start()], match.group(), prompt[match.end() :]
    return "", prompt, ""


def distinct(subject: Subject, example: Example, prompts: Sequence[str]) -> list[Example]:
    """The example under other prompts, less those that read like an earlier one."""
    rows = subject.tokenize([example.prompt, *prompts]).tolist()
    first: dict[tuple[int, ...], int] = {}
    for place, row in enumerate(rows):
        first.setdefault(tuple(row), place)
    return [Example(prompts[place - 1], example.seed) for place in first.values() if place]
