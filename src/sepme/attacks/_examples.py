"""What attacks do with examples: effort, seeds, batches, images, noise, and who fell when."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import cycle, islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sepme.core.attack import Attack, AttackResult, Example, Sampling, Subject, Trial
from sepme.core.concept import Concept
from sepme.errors import SpecError, shown

if TYPE_CHECKING:
    from PIL.Image import Image

AT_ONCE = 8
"""Examples attacked, and images drawn, in one batch."""


def effort_of(attack: Attack, budget: int | None) -> int:
    """The budget, or the attack's own; at least 1."""
    effort = attack.budget if budget is None else budget
    if effort < 1:
        raise SpecError(f"the budget of {attack.name} must be at least 1, got {shown(effort)}.")
    return effort


def check_above_0(attack: Attack) -> None:
    """Refuse settings with a number that is not above 0, and empty lists."""
    for declared in fields(attack):  # type: ignore[arg-type]
        value = getattr(attack, declared.name)
        parts = value if isinstance(value, tuple) else (value,)
        if not parts or not all(part > 0 for part in parts if isinstance(part, int | float)):
            raise SpecError(f"{declared.name} must be above 0, got {shown(value)}.")


def moments_of(effort: int, checks: int) -> list[int]:
    """Evenly spaced moments, at most ``checks`` of them; the last is the end."""
    return sorted({-(-effort * k // checks) for k in range(1, checks + 1)})


def seed_of(example: Example, seed: int, turn: int = 0) -> int:
    """Seed of one try on an example: the same whatever else is attacked."""
    text = f"{seed}\n{turn}\n{example.seed}\n{example.prompt}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "big")


def new_examples(prompts: Sequence[str], count: int, seed: int) -> list[Example]:
    """Prompts in turn, under seeds of their own."""
    turns = enumerate(islice(cycle(prompts), count))
    return [Example(prompt, seed_of(Example(prompt, turn), seed)) for turn, prompt in turns]


def batches(places: Iterable[int]) -> list[list[int]]:
    """Places in batches of `AT_ONCE`."""
    rest = list(places)
    return [rest[start : start + AT_ONCE] for start in range(0, len(rest), AT_ONCE)]


def split_at_name(prompt: str, concept: Concept) -> tuple[str, str, str] | None:
    """A prompt cut into before, the concept's name, and after; None if it has no name."""
    for phrase in sorted(concept.prompts, key=len, reverse=True):
        match = re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", prompt, re.IGNORECASE)
        if match:
            return prompt[: match.start()], match.group(), prompt[match.end() :]
    return None


def noised(clean: Tensor, noise: Tensor, kept: Tensor) -> Tensor:
    """Latents ``x_t`` of clean ones; ``kept`` is their share of the signal, one or one a row."""
    share = kept.view(-1, 1, 1, 1)
    return share.sqrt() * clean + (1 - share).sqrt() * noise


@torch.no_grad()
def drawn(
    subject: Subject, examples: Sequence[Example], how: Sampling, embeds: Tensor | None = None
) -> Tensor:
    """Latents a model draws for one batch of examples, under other embeddings if given."""
    if embeds is None:
        embeds = subject.encode([example.prompt for example in examples])
    return subject.sample(embeds, subject.start_latents([e.seed for e in examples]), how)


def plain_latents(subject: Subject, examples: Sequence[Example], steps: int) -> Tensor:
    """Latents of what a model draws for examples when nobody interferes."""
    parts = [[examples[i] for i in places] for places in batches(range(len(examples)))]
    return torch.cat([drawn(subject, part, Sampling(steps=steps)) for part in parts])


def plain_images(subject: Subject, examples: Sequence[Example], steps: int) -> list[Image]:
    """The images a model draws for examples when nobody interferes."""
    latents = plain_latents(subject, examples, steps)
    return [image for part in torch.split(latents, AT_ONCE) for image in subject.decode(part)]


class Tally:
    """Which examples fell, at what effort, to which prompt, and how many images that took."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.fell: dict[int, int] = {}
        self.prompts = [example.prompt for example in trial.examples]
        self.queries = 0

    def standing(self, places: Iterable[int]) -> list[int]:
        """Those that have not fallen."""
        return [place for place in places if place not in self.fell]

    def judge(self, places: Sequence[int], latents: Tensor, effort: int) -> None:
        """Let the judge look at one image for each place."""
        images = self.trial.subject.decode(latents)
        self.queries += len(images)
        for place, seen in zip(places, self.trial.judge(images), strict=True):
            if seen:
                self.fell[place] = effort

    def show(
        self,
        places: Sequence[int],
        tries: Sequence[Example],
        effort: int,
        embeds: Tensor | None = None,
    ) -> None:
        """Draw a try for each place and let the judge look at it."""
        for place, tried in zip(places, tries, strict=True):
            self.prompts[place] = tried.prompt
        how = Sampling(steps=self.trial.steps)
        self.judge(places, drawn(self.trial.subject, tries, how, embeds), effort)

    def result(self, efforts: Sequence[int], *, prompts: bool = False) -> AttackResult:
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
