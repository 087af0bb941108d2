"""AdaVD: adaptive value decomposition, a guard on the values of cross-attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.core.method import from_paper
from sepme.core.value_guard import ValueGuard
from sepme.methods._spans import last_token
from sepme.methods._together import Solution, Together


@dataclass(frozen=True, kw_only=True)
class AdaVD(Together):
    """Project the concept's value out of the values of cross-attention, while the model runs.

    Every token's value ``v`` becomes ``v - delta P v``, with ``P`` the projection on the span of
    the concepts' own values and ``delta = c / (1 + exp(-a (cos(v, t) - b)))``: tokens like the
    concept lose it, others stay nearly as they are. No weight changes. The values of several
    concepts span one space, so they are guarded together. ``provenance.fit`` tells the number of
    targets, one for each prompt of a concept, and the largest cosine between one and a value of
    what is to be left alone.

    Args:
        slope: a (official code: 100).
        threshold: b, the cosine at which delta is half of the ceiling (official code: 0.93).
        ceiling: c, the largest delta (official code: 2; 1 removes the concept's part of a value
            exactly, 2 reverses it).
        target_modules: Value projections to guard, a regular expression for the module path.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = AdaVD(threshold=0.8).resolve()
        >>> chosen.threshold, chosen.slope
        (0.8, 100.0)
    """

    name: ClassVar[str] = "adavd"
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.06143"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "guard"
    separable: ClassVar[bool] = False
    restorable: ClassVar[str] = "all concepts of one guard together, exactly"
    cost: ClassVar[str] = "a few text encodings; a projection in every cross-attention of a run"

    slope: float = from_paper(100.0, above=0)
    threshold: float = from_paper(0.93, least=-1, most=1)
    ceiling: float = from_paper(2.0, above=0, most=2)
    target_modules: str = from_paper(r".*\.attn2\.to_v")

    def _solve(
        self, model: Backend, concepts: tuple[Concept, ...], others: tuple[Concept, ...], seed: int
    ) -> Solution:
        prompts = [prompt for concept in concepts for prompt in concept.prompts]
        rows = torch.stack([_subject(model, prompt) for prompt in prompts])
        strangers = model.encode([prompt for other in others for prompt in other.prompts])
        sites = model.sites(self.target_modules)
        gate = torch.tensor([[self.slope, self.threshold, self.ceiling]])
        targets = {site: rows @ weight.float().cpu().T for site, weight in sites.items()}
        left = strangers[:, 1:].flatten(0, 1).float().cpu()
        nearest = max(_likeness(left @ w.float().cpu().T, targets[s]) for s, w in sites.items())
        return Solution(ValueGuard(gate, targets), {"targets": len(prompts), "nearest": nearest})


def _subject(model: Backend, prompt: str) -> Tensor:
    """Embedding row of a prompt's last token, on the CPU."""
    return model.encode((prompt,))[0, last_token(model, prompt)].float().cpu()


def _likeness(values: Tensor, targets: Tensor) -> float:
    """The largest cosine between a value and a target."""
    one, two = (torch.nn.functional.normalize(rows, dim=1) for rows in (values, targets))
    return float((one @ two.T).max())
