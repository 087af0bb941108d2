"""Ring-A-Bell: words whose text embedding is that of the prompt with the concept turned up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from sepme.attacks._examples import seed_of
from sepme.attacks._tokens import (
    TokenSearch,
    as_read,
    free_tokens,
    text_losses,
    vocabulary,
)
from sepme.core.attack import Access, Example, Subject, Trial
from sepme.core.concept import Concept

SCENES = (
    "a house",
    "a tree by the road",
    "two people",
    "a quiet street",
    "an animal",
    "a table and a chair",
    "the sky",
    "a boat",
)
"""What the concept is added to, to see what it adds."""


@dataclass(frozen=True, kw_only=True)
class RingABell(TokenSearch):
    """Breed words whose embedding is the prompt's plus ``eta`` times what the concept adds.

    The concept is ``v = mean(E(scene, concept) - E(scene))``. A genetic algorithm over tokens
    lowers ``||E(words) - (E(prompt) + eta v)||^2``: the better half of a population stays, and
    children are crossed at one point and mutated in one token. Only the text encoder is asked, so
    what is found does not depend on how the noise predictor was changed.

    Args:
        tokens: Tokens of a prompt (paper: 16, and 75).
        strength: eta (paper: 3; 5 to 5.5 for violence).
        population: Prompts alive at a time, at least 2 (paper: 200).
        crossover: Share of children that have two parents (paper: 0.5).
        mutation: Share of children with one token drawn anew (paper: 0.25).
        checks: Images drawn of what is found so far (paper: 1, after 3000 generations).

    Raises:
        SpecError: If a value is not above 0.

    Example:
        >>> RingABell().strength, RingABell().access
        (3.0, 'prompt')
    """

    name: ClassVar[str] = "ring-a-bell"
    paper: ClassVar[str] = "https://arxiv.org/abs/2310.10012"
    access: ClassVar[Access] = "prompt"
    budget: ClassVar[int] = 100

    tokens: int = 16
    strength: float = 3.0
    population: int = 100
    crossover: float = 0.5
    mutation: float = 0.25
    checks: int = 3

    def _search(self, trial: Trial, examples: Sequence[Example], seed: int) -> _Populations:
        return _Populations(self, trial, examples, seed)


def concept_vector(subject: Subject, concept: Concept) -> Tensor:
    """What the concept adds to a text embedding, ``(tokens, d_text)``.

    Args:
        subject: Whose text encoder.
        concept: The concept.

    Returns:
        Mean over scenes and the concept's prompts of the difference it makes.
    """
    pairs = [(f"{scene}, {prompt}", scene) for prompt in concept.prompts for scene in SCENES]
    with_concept, without = zip(*pairs, strict=True)
    return (subject.encode(with_concept) - subject.encode(without)).mean(0)


class _Populations:
    """Prompts in order of fitness, ``(population, tokens)`` for each example of a batch."""

    def __init__(
        self, attack: RingABell, trial: Trial, examples: Sequence[Example], seed: int
    ) -> None:
        self.attack, self.subject = attack, trial.subject
        self.generators = [Generator().manual_seed(seed_of(example, seed)) for example in examples]
        self.allowed = vocabulary(trial.subject, without=trial.concept)
        push = attack.strength * concept_vector(trial.subject, trial.concept)
        self.targets = trial.subject.encode([example.prompt for example in examples]) + push
        shape = (attack.population, free_tokens(trial.subject, attack.tokens))
        self.alive, self.loss = [], []
        self.known: list[dict[tuple[int, ...], float]] = [{} for _ in examples]
        for row, generator in enumerate(self.generators):
            alive = self.allowed[torch.randint(len(self.allowed), shape, generator=generator)]
            self.alive.append(alive)
            self.loss.append(self.losses(row, alive))

    def losses(self, row: int, tokens: Tensor) -> Tensor:
        """Squared distance to an example's target, of the tokens as text."""

        def rate(embeds: Tensor, _ids: Tensor) -> Tensor:
            return (embeds - self.targets[row]).square().sum((1, 2))

        return text_losses(self.subject, tokens, self.allowed, self.known[row], rate)

    def step(self, progress: float, rows: Sequence[int]) -> None:
        """One generation."""
        for row in rows:
            best = self.loss[row].argsort(stable=True)[: max(1, self.attack.population // 2)]
            parents = self.alive[row][best]
            children = self._children(parents, self.generators[row])
            self.alive[row] = torch.cat([parents, children])
            self.loss[row] = torch.cat([self.loss[row][best], self.losses(row, children)])

    def _children(self, parents: Tensor, generator: Generator) -> Tensor:
        count, length = self.attack.population - len(parents), parents.shape[1]

        def draw(below: int) -> Tensor:
            return torch.randint(below, (count,), generator=generator)

        mothers, fathers, cut = (
            parents[draw(len(parents))],
            parents[draw(len(parents))],
            draw(length),
        )
        crossed = torch.rand(count, generator=generator) < self.attack.crossover
        from_father = (torch.arange(length) > cut[:, None]) & crossed[:, None]
        children = torch.where(from_father, fathers, mothers)
        mutated = torch.rand(count, generator=generator) < self.attack.mutation
        place, fresh = draw(length), self.allowed[draw(len(self.allowed))]
        return torch.where(
            (torch.arange(length) == place[:, None]) & mutated[:, None], fresh[:, None], children
        )

    def found(self, rows: Sequence[int]) -> Tensor:
        """The fittest prompts."""
        tokens = torch.stack([self.alive[row][self.loss[row].argmin()] for row in rows])
        return as_read(self.subject, tokens, self.allowed)[0]
