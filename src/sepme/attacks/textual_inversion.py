"""Textual inversion: a new word for what the erased model no longer connects with the old one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from sepme.attacks._examples import (
    Tally,
    batches,
    drawn,
    moments_of,
    new_examples,
    noised,
    plain_images,
    split_at_name,
)
from sepme.attacks._latents import LatentAttack, Unit, encoded
from sepme.core.attack import Access, AttackResult, Sampling, Subject, Trial
from sepme.core.concept import Concept


@dataclass(frozen=True, kw_only=True)
class TextualInversion(LatentAttack):
    """Learn one token embedding under which the erased model denoises images of the concept.

    ``min_v E || noise - eps(x_t, prompt(v)) ||^2`` over images the original model draws for the
    concept's own prompts. The new word then replaces the concept's name in the examples' prompts,
    or follows them where there is none. It is learned once for all examples.

    Args:
        learning_rate: Of Adam (paper: 0.005 times the batch size).
        batch_size: Noised latents a step (paper: 16).
        images: Images to learn from (paper: 25).
        checks: Times the word is tried on the way, evenly spaced.

    Raises:
        SpecError: If a value is not above 0.

    Example:
        >>> TextualInversion().access, TextualInversion().unit
        ('embedding', 'steps')
    """

    name: ClassVar[str] = "textual-inversion"
    paper: ClassVar[str] = "https://arxiv.org/abs/2308.01508"
    access: ClassVar[Access] = "embedding"
    unit: ClassVar[Unit] = "steps"
    budget: ClassVar[int] = 300

    learning_rate: float = 0.02
    batch_size: int = 4
    images: int = 16
    checks: int = 3

    def _run(self, trial: Trial, effort: int, seed: int) -> AttackResult:
        tally, moments = Tally(trial), moments_of(effort, self.checks)
        search, everyone = _Word(self, trial, seed), range(len(trial.examples))
        for number in range(1, effort + 1):
            search.step()
            for places in batches(tally.standing(everyone) if number in moments else ()):
                tally.judge(places, search.drawn(places), number)
        return tally.result(moments)


class _Word:
    """A word while it is learned."""

    def __init__(self, attack: TextualInversion, trial: Trial, seed: int) -> None:
        self.attack, self.trial, self.subject = attack, trial, trial.subject
        self.generator = Generator().manual_seed(seed)
        tries = new_examples(trial.concept.prompts, attack.images, seed)
        self.clean = encoded(trial.original, plain_images(trial.original, tries, trial.steps))
        row = self.subject.tokenize([trial.concept.prompts[0]])
        self.word = self.subject.token_table[_content(self.subject, row[0])].mean(0)
        self.word = self.word.clone().requires_grad_()
        self.adam = torch.optim.Adam([self.word], lr=attack.learning_rate)

    def step(self) -> None:
        """One update."""
        pick = torch.randint(len(self.clean), (self.attack.batch_size,), generator=self.generator)
        levels = self.subject.alphas_cumprod
        t = torch.randint(len(levels), (len(pick),), generator=self.generator)
        noise = torch.randn(self.clean[pick].shape, generator=self.generator)
        latents = noised(self.clean[pick], noise, levels[t])
        embeds = encode_with(self.subject, ["{}"], self.word).expand(len(pick), -1, -1)
        predicted = self.subject.predict_noise(latents, t, embeds)
        (self.word.grad,) = torch.autograd.grad((predicted - noise).square().mean(), self.word)
        self.adam.step()

    @torch.no_grad()
    def drawn(self, places: Sequence[int]) -> Tensor:
        """Latents of images of some examples under the new word."""
        part = [self.trial.examples[place] for place in places]
        slots = [with_slot(example.prompt, self.trial.concept) for example in part]
        embeds = encode_with(self.subject, slots, self.word)
        return drawn(self.subject, part, Sampling(steps=self.trial.steps), embeds)


def with_slot(prompt: str, concept: Concept) -> str:
    """A prompt with a slot in place of the concept's name, or after it if it has none.

    Args:
        prompt: The prompt.
        concept: The concept.

    Returns:
        The prompt with one ``{}``.

    Example:
        >>> monet = Concept("monet", ("Monet",))
        >>> with_slot("an owl by Monet, signed", monet), with_slot("an owl", monet)
        ('an owl by {}, signed', 'an owl {}')
    """
    before, _, after = split_at_name(prompt, concept) or (f"{prompt} ", "", "")
    return f"{before}{{}}{after}"


def encode_with(subject: Subject, slots: Sequence[str], word: Tensor) -> Tensor:
    """Text embeddings of prompts that use a word no vocabulary has.

    Args:
        subject: Whose text encoder.
        slots: ``n`` prompts with one ``{}`` each.
        word: The word's token embedding, ``(d,)``.

    Returns:
        ``(n, tokens, d_text)``, differentiable in the word.
    """
    table, (blank,) = subject.token_table, subject.tokenize([""])
    rows = []
    for slot in slots:
        before, after = (
            table[_content(subject, row)] for row in subject.tokenize(slot.split("{}"))
        )
        before = before[: len(blank) - 3]
        parts = [table[blank[:1]], before, word[None], after[: len(blank) - 3 - len(before)]]
        ends = table[blank[1:]]
        rows.append(torch.cat([*parts, ends])[: len(blank)])
    return subject.encode_tokens(torch.stack(rows))


def _content(subject: Subject, row: Tensor) -> Tensor:
    """Token ids of a prompt without start, end and padding."""
    end = subject.tokenize([""])[0, 1]
    return row[1 : 1 + int((row[1:] == end).int().argmax())]
