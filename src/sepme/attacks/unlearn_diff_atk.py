"""UnlearnDiffAtk: a prefix that makes the erased model denoise an image of the concept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from sepme.attacks._examples import noised, plain_latents, seed_of
from sepme.attacks._tokens import (
    TokenSearch,
    free_tokens,
    noise_of,
    splice,
    vocabulary,
)
from sepme.core.attack import Access, Example, Trial
from sepme.linalg.simplex import onto_simplex


@dataclass(frozen=True, kw_only=True)
class UnlearnDiffAtk(TokenSearch):
    """Learn tokens before the prompt with which the erased model denoises the original's image.

    Each of ``k`` tokens is a distribution ``w`` over the vocabulary. A step draws a token from each
    and lowers ``||noise - eps(x_t, tokens + prompt)||^2``, where ``x_0`` is the image the original
    model draws for the example. Gradients pass the draw as if it were the identity and are clipped
    to -1..1; after Adam's update ``w`` is projected onto the simplex. Timesteps are visited from
    little noise to much.

    Args:
        tokens: k (paper: 5).
        learning_rate: Of Adam (paper: 0.01).
        weight_decay: Of Adam (paper: 0.1).
        timesteps: Noise levels, evenly spaced (paper: 50, with 40 steps each, a budget of 2000).
        checks: Images drawn of what is found so far (paper: 50).

    Raises:
        SpecError: If a value is not above 0.

    Example:
        >>> UnlearnDiffAtk().tokens, UnlearnDiffAtk().access
        (5, 'embedding')
    """

    name: ClassVar[str] = "unlearn-diff-atk"
    paper: ClassVar[str] = "https://arxiv.org/abs/2310.11868"
    access: ClassVar[Access] = "embedding"
    budget: ClassVar[int] = 150

    tokens: int = 5
    learning_rate: float = 0.01
    weight_decay: float = 0.1
    timesteps: int = 50
    checks: int = 5

    def _search(self, trial: Trial, examples: Sequence[Example], seed: int) -> _Prefixes:
        return _Prefixes(self, trial, examples, seed)


class _Prefixes:
    """Distributions over the vocabulary, ``k`` for each example of a batch."""

    def __init__(
        self, attack: UnlearnDiffAtk, trial: Trial, examples: Sequence[Example], seed: int
    ) -> None:
        self.attack, self.subject = attack, trial.subject
        self.generators = [Generator().manual_seed(seed_of(example, seed)) for example in examples]
        self.prompts = trial.subject.tokenize([example.prompt for example in examples])
        self.clean = plain_latents(trial.original, examples, trial.steps)
        self.ids = vocabulary(trial.subject)
        shape = (free_tokens(trial.subject, attack.tokens), len(self.ids))
        self.weights = [torch.full(shape, 1 / len(self.ids)).requires_grad_() for _ in examples]
        self.adam = torch.optim.Adam(
            self.weights, lr=attack.learning_rate, weight_decay=attack.weight_decay
        )

    def losses(self, progress: float, rows: Sequence[int]) -> Tensor:
        """Mean square error of the predicted noise, ``(rows,)``, with drawn tokens."""
        table, generators = self.subject.token_table, [self.generators[row] for row in rows]
        hot = torch.stack(
            [
                one_hot(torch.multinomial(w.detach(), 1, generator=g)[:, 0], len(self.ids))
                + w
                - w.detach()
                for w, g in zip([self.weights[row] for row in rows], generators, strict=True)
            ]
        )
        embeds = splice(table[self.prompts[list(rows)]], hot @ table[self.ids])
        levels, clean = self.subject.alphas_cumprod, self.clean[list(rows)]
        every = len(levels) / self.attack.timesteps
        timestep = int((int(progress * self.attack.timesteps) + 0.5) * every)
        at = torch.full((len(rows),), timestep)
        noise = noise_of(clean, generators)
        latents = noised(clean, noise, levels[at])
        predicted = self.subject.predict_noise(latents, at, self.subject.encode_tokens(embeds))
        return (predicted - noise).square().mean((1, 2, 3))

    def step(self, progress: float, rows: Sequence[int]) -> None:
        """One update of Adam."""
        live = [self.weights[row] for row in rows]
        self.adam.zero_grad()
        gradients = torch.autograd.grad(self.losses(progress, rows).sum(), live)
        for weight, gradient in zip(live, gradients, strict=True):
            weight.grad = gradient.clamp(-1, 1)
        self.adam.step()
        with torch.no_grad():
            for weight in live:
                weight.copy_(onto_simplex(weight))

    def found(self, rows: Sequence[int]) -> Tensor:
        """The prompts behind the most probable tokens."""
        tokens = torch.stack([self.ids[self.weights[row].argmax(1)] for row in rows])
        return splice(self.prompts[list(rows)], tokens)
