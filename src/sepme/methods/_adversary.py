"""Free token embeddings that make a model predict again what it has forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

Predict: TypeAlias = Callable[[Tensor], Tensor]
"""Text embeddings, ``(n, tokens, d_text)``, to the noise a model predicts with them."""


class Search(NamedTuple):
    """How adversarial embeddings are looked for.

    Attributes:
        steps: Steps of AdamW; none leaves the embeddings as they are.
        rate: Its learning rate.
        decay: Its weight decay, which is not part of the gradient.
    """

    steps: int
    rate: float
    decay: float


def adversarial(
    embeds: Tensor,
    free: Tensor,
    goal: Tensor,
    predict: Predict,
    search: Search,
    generator: torch.Generator,
) -> Tensor:
    """Put embeddings into the free rows with which a model comes closest to some noise (Receler).

    They begin uniform between 0 and 1, and descend on ``|predict(e) - goal|^2``, for every row of
    the batch by itself.

    Args:
        embeds: Text embeddings, ``(n, tokens, d_text)``.
        free: 1 for the rows to choose, else 0, ``(n, tokens)``.
        goal: What the model should predict again, ``(n, channels, height, width)``.
        predict: The model, differentiable in the embeddings.
        search: How far and how fast to go.
        generator: Source of randomness.

    Returns:
        The embeddings, same shape, without a gradient.
    """
    if not search.steps:
        return embeds
    chosen = torch.rand(embeds.shape, generator=generator).to(embeds.device).requires_grad_()
    optimizer = torch.optim.AdamW([chosen], lr=search.rate, weight_decay=search.decay)
    for _ in range(search.steps):
        missed = predict(_filled(embeds, free, chosen)).float() - goal
        loss = missed.square().flatten(1).mean(dim=1).sum()
        (chosen.grad,) = torch.autograd.grad(loss, [chosen])
        optimizer.step()
    return _filled(embeds, free, chosen).detach()


def _filled(embeds: Tensor, free: Tensor, chosen: Tensor) -> Tensor:
    return torch.where(free.bool()[..., None], chosen.to(embeds.dtype), embeds)
