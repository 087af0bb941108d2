"""GCG: greedy coordinate gradient towards the prompt's embedding, without the concept's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import cosine_similarity

from sepme.attacks._examples import seed_of
from sepme.attacks._tokens import (
    TokenSearch,
    as_read,
    blank_ids,
    free_tokens,
    splice,
    text_losses,
    vocabulary,
)
from sepme.core.attack import Access, Example, Subject, Trial
from sepme.errors import SpecError, shown


@dataclass(frozen=True, kw_only=True)
class GCG(TokenSearch):
    """Swap tokens one at a time until the text embedding is that of the prompt.

    A step takes the gradient of ``1 - cos(E(tokens), E(prompt))`` with respect to a one-hot choice
    of each token, picks ``candidates`` swaps at random among the ``top`` most promising tokens of
    each place, evaluates them all and keeps the best if it is better. Tokens that name the concept
    are not in the vocabulary. Only the text encoder is asked.

    Args:
        tokens: Tokens of the prompt (paper: 20).
        match: What of the embedding is compared: ``"whole"``, place by place, or ``"pooled"``, its
            row at the end token (paper).
        candidates: Swaps evaluated a step (paper: 512).
        top: Tokens of each place they are drawn from (paper: 256).
        checks: Images drawn of what is found so far (paper: 1, after 1000 steps).

    Raises:
        SpecError: If a value is not above 0, or ``match`` is neither.

    Example:
        >>> GCG().tokens, GCG().access
        (20, 'prompt')
    """

    name: ClassVar[str] = "gcg"
    paper: ClassVar[str] = "https://arxiv.org/abs/2311.17516"
    access: ClassVar[Access] = "prompt"
    budget: ClassVar[int] = 100

    tokens: int = 20
    match: Literal["whole", "pooled"] = "whole"
    candidates: int = 64
    top: int = 64
    checks: int = 3

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        if self.match not in ("whole", "pooled"):
            raise SpecError(f"match must be 'whole' or 'pooled', got {shown(self.match)}.")

    def _search(self, trial: Trial, examples: Sequence[Example], seed: int) -> _Swaps:
        return _Swaps(self, trial, examples, seed)


def pooled(subject: Subject, embeds: Tensor, ids: Tensor) -> Tensor:
    """The rows of text embeddings at the first end token.

    Args:
        subject: Whose tokens.
        embeds: ``(n, tokens, d_text)``.
        ids: The tokens, ``(n, tokens)``.

    Returns:
        ``(n, d_text)``.
    """
    end = blank_ids(subject, 1)[0, 1]
    return embeds[torch.arange(len(ids)), (ids == end).int().argmax(1)]


class _Swaps:
    """One prompt of free tokens for each example of a batch."""

    def __init__(self, attack: GCG, trial: Trial, examples: Sequence[Example], seed: int) -> None:
        self.attack, self.subject = attack, trial.subject
        self.generators = [Generator().manual_seed(seed_of(example, seed)) for example in examples]
        self.allowed = vocabulary(trial.subject, without=trial.concept)
        prompts = [example.prompt for example in examples]
        whole, ids = trial.subject.encode(prompts), trial.subject.tokenize(prompts)
        self.targets = whole if attack.match == "whole" else pooled(trial.subject, whole, ids)
        count = free_tokens(trial.subject, attack.tokens)
        self.tokens = [
            self.allowed[torch.randint(len(self.allowed), (count,), generator=g)]
            for g in self.generators
        ]
        self.known: list[dict[tuple[int, ...], float]] = [{} for _ in examples]
        self.loss = [float(self.losses(i, row[None])[0]) for i, row in enumerate(self.tokens)]

    def _distance(self, row: int, embeds: Tensor, ids: Tensor) -> Tensor:
        if self.attack.match == "pooled":
            embeds = pooled(self.subject, embeds, ids)
        apart = 1 - cosine_similarity(embeds, self.targets[row], dim=-1)
        return apart.flatten(1).mean(1) if apart.ndim > 1 else apart

    def losses(self, row: int, tokens: Tensor) -> Tensor:
        """Distance to an example's target, of the tokens as text."""
        rate, known = partial(self._distance, row), self.known[row]
        return text_losses(self.subject, tokens, self.allowed, known, rate)

    def gradient(self, row: int) -> Tensor:
        """How fast the distance grows with each token's share, ``(tokens, allowed)``."""
        table = self.subject.token_table
        ids = splice(blank_ids(self.subject, 1), self.tokens[row][None])
        embeds = table[ids].requires_grad_()
        distance = self._distance(row, self.subject.encode_tokens(embeds), ids).sum()
        (slope,) = torch.autograd.grad(distance, embeds)
        return (slope[0, 1 : len(self.tokens[row]) + 1] @ table.T)[:, self.allowed]

    def swaps(self, row: int) -> Tensor:
        """Candidates, each with one token changed, ``(candidates, tokens)``."""
        tokens, generator = self.tokens[row], self.generators[row]
        count, top = self.attack.candidates, min(self.attack.top, len(self.allowed))
        promising = self.allowed[self.gradient(row).topk(top, largest=False).indices]
        place = torch.randint(len(tokens), (count,), generator=generator)
        pick = torch.randint(top, (count,), generator=generator)
        swapped = tokens.repeat(count, 1)
        swapped[torch.arange(count), place] = promising[place, pick]
        return swapped

    def step(self, progress: float, rows: Sequence[int]) -> None:
        """One swap in each prompt, if it helps."""
        for row in rows:
            candidates = self.swaps(row)
            losses = self.losses(row, candidates)
            best = int(losses.argmin())
            if losses[best] <= self.loss[row]:
                self.tokens[row], self.loss[row] = candidates[best], float(losses[best])

    def found(self, rows: Sequence[int]) -> Tensor:
        """The prompts as they are read."""
        tokens = torch.stack([self.tokens[row] for row in rows])
        return as_read(self.subject, tokens, self.allowed)[0]
