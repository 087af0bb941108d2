"""P4D-N: a new prompt under which the erased model predicts what the original one does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

from sepme.attacks._examples import noised, plain_latents, seed_of
from sepme.attacks._tokens import (
    TokenSearch,
    blank_ids,
    free_tokens,
    noise_of,
    splice,
    vocabulary,
)
from sepme.core.attack import Access, Example, Trial


@dataclass(frozen=True, kw_only=True)
class P4D(TokenSearch):
    """Learn a prompt of free tokens with which the erased model speaks as the original.

    A step replaces each learned embedding by the token nearest in angle and lowers
    ``||eps(z_t, tokens) - eps0(z_t, prompt)||^2``; the gradient there updates the learned
    embedding. ``z_0`` is the image the original model draws for the example, ``t`` is random.

    Args:
        tokens: Free tokens (paper: 16).
        learning_rate: Of AdamW (paper: 0.1).
        weight_decay: Of AdamW (paper: 0.1).
        checks: Images drawn of what is found so far (paper: 60, in 3000 steps).

    Raises:
        SpecError: If a value is not above 0.

    Example:
        >>> P4D().tokens, P4D().access
        (16, 'embedding')
    """

    name: ClassVar[str] = "p4d"
    paper: ClassVar[str] = "https://arxiv.org/abs/2309.06135"
    access: ClassVar[Access] = "embedding"
    budget: ClassVar[int] = 150

    tokens: int = 16
    learning_rate: float = 0.1
    weight_decay: float = 0.1
    checks: int = 5

    def _search(self, trial: Trial, examples: Sequence[Example], seed: int) -> _FreePrompts:
        return _FreePrompts(self, trial, examples, seed)


def nearest(embeds: Tensor, table: Tensor) -> Tensor:
    """Row of a table nearest in angle to each embedding.

    Args:
        embeds: ``(..., d)``.
        table: ``(vocabulary, d)``.

    Returns:
        Indices ``(...)``.

    Example:
        >>> nearest(torch.tensor([3.0, 1.0]), torch.tensor([[0.0, 9.0], [1.0, 0.0]]))
        tensor(1)
    """
    return (normalize(embeds, dim=-1) @ normalize(table, dim=-1).T).argmax(-1)


class _FreePrompts:
    """Learned embeddings of free tokens, for each example of a batch."""

    def __init__(self, attack: P4D, trial: Trial, examples: Sequence[Example], seed: int) -> None:
        self.trial, self.subject = trial, trial.subject
        self.generators = [Generator().manual_seed(seed_of(example, seed)) for example in examples]
        self.target = trial.original.encode([example.prompt for example in examples])
        self.clean = plain_latents(trial.original, examples, trial.steps)
        self.ids = vocabulary(trial.subject)
        self.table = trial.subject.token_table[self.ids]
        count = free_tokens(trial.subject, attack.tokens)
        self.learned = [
            self.table[torch.randint(len(self.ids), (count,), generator=g)].requires_grad_()
            for g in self.generators
        ]
        self.adam = torch.optim.AdamW(
            self.learned, lr=attack.learning_rate, weight_decay=attack.weight_decay
        )

    def losses(self, rows: Sequence[int]) -> Tensor:
        """Mean square distance of the two predictions, ``(rows,)``, at random timesteps."""
        picks, generators = list(rows), [self.generators[row] for row in rows]
        learned = torch.stack([self.learned[row] for row in picks])
        projected = self.table[nearest(learned.detach(), self.table)]
        blank = self.subject.token_table[blank_ids(self.subject, len(picks))]
        embeds = splice(blank, projected + learned - learned.detach())
        clean, levels = self.clean[picks], self.subject.alphas_cumprod
        at = torch.cat([torch.randint(len(levels), (1,), generator=g) for g in generators])
        latents = noised(clean, noise_of(clean, generators), levels[at])
        with torch.no_grad():
            wanted = self.trial.original.predict_noise(latents, at, self.target[picks])
        said = self.subject.predict_noise(latents, at, self.subject.encode_tokens(embeds))
        return (said - wanted).square().mean((1, 2, 3))

    def step(self, progress: float, rows: Sequence[int]) -> None:
        """One update of AdamW."""
        live = [self.learned[row] for row in rows]
        self.adam.zero_grad()
        gradients = torch.autograd.grad(self.losses(rows).sum(), live)
        for embeds, gradient in zip(live, gradients, strict=True):
            embeds.grad = gradient
        self.adam.step()

    def found(self, rows: Sequence[int]) -> Tensor:
        """The prompts of the nearest tokens."""
        learned = torch.stack([self.learned[row].detach() for row in rows])
        tokens = self.ids[nearest(learned, self.table)]
        return splice(blank_ids(self.subject, len(rows)), tokens)
