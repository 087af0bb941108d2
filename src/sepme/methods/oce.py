"""OCE: values of a concept are rotated away, by one rotation of each site's output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from sepme.core.backend import CROSS_ATTN_V, Backend
from sepme.core.concept import Concept
from sepme.core.dense_shift import DenseShift
from sepme.core.method import from_paper
from sepme.core.record import Scalar
from sepme.linalg.rotation import nearest_rotation, span
from sepme.methods._rows import Pairs, chosen_rows, pairs, worded_rows
from sepme.methods._together import Solution, Together


class _Task(NamedTuple):
    """Rows of a fit: those to move, those to keep, and the mean second moment of any prompt's."""

    moved: Pairs
    retained: Tensor
    moment: Tensor


@dataclass(frozen=True, kw_only=True)
class OCE(Together):
    """Turn each site's values of a concept away from where they were, changing no length.

    Every weight becomes ``R W0`` with the rotation ``R`` that maximises ``trace(R^T M)`` for
    ``M = -s_e E E^T (I - E* E*^T) + s_p sum W0 r (W0 r)^T + s_g W0 C W0^T + lam W0 W0^T``, where
    ``E`` and ``E*`` span the values of the concept's and the anchor's rows, ``r`` are rows of
    what is retained and ``C`` is the mean second moment of any prompt's rows. Norms of values
    and angles between them are kept exactly, and ``R^T`` undoes the edit (OCE, closed form).

    Args:
        erase_scale: s_e, weight of turning the concept's values away (official code, a style: 500;
            an object: 2000).
        general_scale: s_g, weight of leaving the values of any prompt (official code: 10).
        preserve_scale: s_p, weight of each retained row (official code, a style: 1; an object: 0).
        lamb: lambda, weight of leaving every direction alone (official code: 10).
        rtol: Directions of the concept or the anchor below this share of the largest are none.
        rows: ``"last"`` turns the value of a prompt's last token, ``"to-end"`` also those after it.
        target_modules: Sites to change (official code: values only).

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = OCE(rows="to-end").resolve({"erase_scale": 2000})
        >>> chosen.rows, chosen.erase_scale, chosen.lamb
        ('to-end', 2000, 10.0)
    """

    name: ClassVar[str] = "oce"
    paper: ClassVar[str] = "https://arxiv.org/abs/2605.28902"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "closed-form"
    separable: ClassVar[bool] = False
    restorable: ClassVar[str] = "all concepts of one solve together, exactly"
    cost: ClassVar[str] = "one singular value decomposition a site, as wide as its output"

    erase_scale: float = from_paper(500.0, above=0)
    general_scale: float = from_paper(10.0, least=0)
    preserve_scale: float = from_paper(1.0, least=0)
    lamb: float = from_paper(10.0, above=0)
    rtol: float = from_paper(1e-6, above=0, most=1)
    rows: Literal["last", "to-end"] = from_paper("last", one_of=("last", "to-end"))
    target_modules: str = from_paper(CROSS_ATTN_V)

    def _solve(
        self, model: Backend, concepts: tuple[Concept, ...], others: tuple[Concept, ...], seed: int
    ) -> Solution:
        worded = worded_rows(model, others)
        task = _Task(
            pairs(model, concepts, self.rows),
            chosen_rows(model, others, self.rows),
            worded.T @ worded / len(worded),
        )
        weights = {
            site: weight.to("cpu", torch.float64)
            for site, weight in sorted(model.sites(self.target_modules).items())
        }
        turned = {site: self._rotation(task, w) @ w for site, w in weights.items()}
        payload = DenseShift({site: (turned[site] - w).float() for site, w in weights.items()})
        return Solution(payload, _facts(task, weights, turned))

    def _rotation(self, task: _Task, weight: Tensor) -> Tensor:
        here = span(task.moved.targets @ weight.T, rtol=self.rtol)
        there = span(task.moved.anchors @ weight.T, rtol=self.rtol)
        kept = task.retained @ weight.T
        away = here.T @ (here - here @ there.T @ there)
        stay = self.general_scale * task.moment
        stay = stay + self.lamb * torch.eye(len(stay), dtype=torch.float64)
        return nearest_rotation(
            weight @ stay @ weight.T + self.preserve_scale * kept.T @ kept - self.erase_scale * away
        )


def _facts(
    task: _Task, weights: Mapping[str, Tensor], turned: Mapping[str, Tensor]
) -> dict[str, Scalar]:
    """What is to be told of a solution; the worst retained row counts, over all sites."""
    cosines, drift = [], 0.0
    for site, weight in weights.items():
        before, after = (task.moved.targets @ w.T for w in (weight, turned[site]))
        cosines.append(torch.nn.functional.cosine_similarity(before, after, dim=1))
        kept, moved = (task.retained @ w.T for w in (weight, turned[site] - weight))
        share = torch.linalg.vector_norm(moved, dim=1) / torch.linalg.vector_norm(kept, dim=1)
        drift = max(drift, float(share.max()))
    return {
        "rows": len(task.moved.targets),
        "retained": len(task.retained),
        "cosine": float(torch.cat(cosines).mean()),
        "moved": drift,
    }
