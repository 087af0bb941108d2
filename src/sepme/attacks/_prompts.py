"""What attacks with variants of the prompt share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Generator

from sepme.attacks._examples import Tally, batches, effort_of, seed_of
from sepme.core.attack import Attack, AttackResult, Example, Subject, Trial


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
            self._variants(trial, example, effort, generator)[:effort]
            for example in trial.examples
            for generator in [Generator().manual_seed(seed_of(example, seed))]
        ]
        for turn in range(effort):
            places = [place for place in range(len(queues)) if turn < len(queues[place])]
            for batch in batches(tally.standing(places)):
                tries = [queues[place][turn] for place in batch]
                tally.show(batch, tries, turn + 1)
        return tally.result(range(1, effort + 1), prompts=self.rewords)

    @abstractmethod
    def _variants(
        self, trial: Trial, example: Example, budget: int, generator: Generator
    ) -> list[Example]:
        """What to draw instead of an example, in this order."""


def distinct(subject: Subject, example: Example, prompts: Sequence[str]) -> list[Example]:
    """The example under other prompts, less those that read like an earlier one."""
    rows = subject.tokenize([example.prompt, *prompts]).tolist()
    first: dict[tuple[int, ...], int] = {}
    for place, row in enumerate(rows):
        first.setdefault(tuple(row), place)
    return [Example(prompts[place - 1], example.seed) for place in first.values() if place]
