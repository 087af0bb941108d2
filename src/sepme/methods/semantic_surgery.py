"""Semantic Surgery: a guard that subtracts a concept from the embedding of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.core.method import from_paper
from sepme.core.surgery_guard import JOINED, SurgeryGuard
from sepme.methods._together import Solution, Together

_SURE = 1e-3
"""Presence below 1/2 by this much stays so whatever the batch does to the last bits."""


@dataclass(frozen=True, kw_only=True)
class SemanticSurgery(Together):
    """Subtract the concepts a prompt asks for from its text embedding, while the model runs.

    Concept ``k`` is present in a prompt with ``a_k = sigmoid((s_k + beta) / gamma)``, ``s_k`` the
    mean over rows of ``cos(e(k) - e(""), e(prompt))``. If some ``a_k > 1/2`` the model reads
    ``e(prompt) - scale max a_k (J - e(""))``, ``J`` the embedding of the present concepts joined by
    commas. Any other prompt is read as it is, bit for bit, and a shift lists those among
    ``decoupled_from``. The concept's first prompt stands for it. ``provenance.fit`` tells the
    least presence of a concept in its own prompts and the largest in what is to be left alone.

    Args:
        beta: Minus the mean cosine at which a concept counts as present (official code: -0.06).
        gamma: Width of the step around it (official code: 0.02).
        scale: Factor of what is subtracted (paper: 1, raised only where a detector still sees the
            concept).

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = SemanticSurgery(beta=-0.1).resolve()
        >>> chosen.beta, chosen.gamma
        (-0.1, 0.02)
    """

    name: ClassVar[str] = "semantic-surgery"
    paper: ClassVar[str] = "https://arxiv.org/abs/2510.22851"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "guard"
    separable: ClassVar[bool] = False
    restorable: ClassVar[str] = "all concepts of one guard together, exactly"
    cost: ClassVar[str] = "one text encoding for each combination of concepts, no image"

    beta: float = from_paper(-0.06, least=-1, most=1)
    gamma: float = from_paper(0.02, above=0)
    scale: float = from_paper(1.0, above=0)

    def _solve(
        self, model: Backend, concepts: tuple[Concept, ...], others: tuple[Concept, ...], seed: int
    ) -> Solution:
        names = [concept.prompts[0] for concept in concepts]
        guard = SurgeryGuard(
            blank=_rows(model, [""]),
            concepts=_rows(model, names),
            joins=_rows(model, _joins(names)),
            gate=torch.tensor([[self.beta, self.gamma, self.scale]]),
        )
        own = [guard.presence(model.encode(c.prompts))[:, i].min() for i, c in enumerate(concepts)]
        most = {other: float(guard.presence(model.encode(other.prompts)).max()) for other in others}
        facts = {"own": float(min(own)), "others": max(most.values())}
        alone = (other.name for other in others if most[other] < 1 / 2 - _SURE)
        moved = {other.name for other in others if most[other] >= 1 / 2 - _SURE}
        spared = tuple(name for name in alone if name not in moved)
        return Solution(guard, facts, spared)


def _joins(names: Sequence[str]) -> list[str]:
    """Every combination of some names, as `SurgeryGuard` counts them; the names if too many."""
    if len(names) > JOINED:
        return list(names)
    return [
        ", ".join(name for k, name in enumerate(names) if i >> k & 1)
        for i in range(1, 2 ** len(names))
    ]


def _rows(model: Backend, prompts: Sequence[str]) -> Tensor:
    return model.encode(prompts).flatten(0, 1).float().cpu()
