"""SPEED: a closed form inside what the retained concepts leave free at each site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from sepme.core.backend import CROSS_ATTN_V, Backend
from sepme.core.concept import BLANK, Concept
from sepme.core.factor_shift import FactorShift
from sepme.core.method import from_paper
from sepme.core.record import Scalar
from sepme.errors import NullSpaceExhausted
from sepme.linalg.k_means import k_means
from sepme.linalg.low_rank import LowRank, compress
from sepme.linalg.null_edit import null_edit, quiet_directions
from sepme.linalg.wide import float64
from sepme.methods._rows import Pairs, chosen_rows, encoded, pairs
from sepme.methods._together import Solution, Together


class _Task(NamedTuple):
    """Rows of a fit: those to move, those to keep, and those that must not move at all."""

    moved: Pairs
    retained: Tensor
    fixed: Tensor


class _Edit(NamedTuple):
    """The change of one site, the rows it was made to spare, and the directions left to it."""

    change: LowRank
    spared: int
    free: int


@dataclass(frozen=True, kw_only=True)
class SPEED(Together):
    """Map a concept to its anchor in the directions its retained neighbours hardly use.

    At each site the retained rows that an unconstrained edit would move more than the average are
    selected (influence-based filtering) and multiplied by samples along the direction in which
    the weight is weakest (directed augmentation). The change reads only the directions in which
    the selected rows have a mean energy below ``threshold``, and leaves the start row and the
    centres of the blank prompt's other rows exactly where they are (invariant constraints) if
    ``lamb`` is 0. Other retained prompts are left alone approximately: nothing is guaranteed for
    them.

    Args:
        ridge: s_r, weight of a small change (official code: 1; 0.05 without the filter).
        threshold: Mean energy below which a direction is free (official code: 0.1). Absolute: it
            depends on the size of the embeddings.
        lamb: lambda, how soft the invariants are; 0 fixes them exactly (official code: 0).
        samples: Augmented samples of each selected row (official code: 10).
        centres: Clusters of the blank prompt's rows that are fixed (official code: 3).
        filter: ``"influence"`` selects retained rows; ``"none"`` takes all.
        rows: ``"last"`` maps the row of a prompt's last token, ``"to-end"`` also those after it.
        target_modules: Sites to change (paper: values only).

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = SPEED(rows="to-end").resolve({"threshold": 0.01})
        >>> chosen.rows, chosen.threshold, chosen.lamb
        ('to-end', 0.01, 0.0)
    """

    name: ClassVar[str] = "speed"
    paper: ClassVar[str] = "https://arxiv.org/abs/2503.07392"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "closed-form"
    separable: ClassVar[bool] = False
    restorable: ClassVar[str] = "all concepts of one solve together, exactly"
    cost: ClassVar[str] = "an eigenproblem a site, as wide as the text embedding, no image"

    ridge: float = from_paper(1.0, above=0)
    threshold: float = from_paper(0.1, above=0)
    lamb: float = from_paper(0.0, least=0)
    samples: int = from_paper(10, least=0)
    centres: int = from_paper(3, above=0)
    filter: Literal["influence", "none"] = from_paper("influence", one_of=("influence", "none"))
    rows: Literal["last", "to-end"] = from_paper("last", one_of=("last", "to-end"))
    target_modules: str = from_paper(CROSS_ATTN_V)

    def _solve(
        self, model: Backend, concepts: tuple[Concept, ...], others: tuple[Concept, ...], seed: int
    ) -> Solution:
        task = _Task(
            pairs(model, concepts, self.rows),
            chosen_rows(model, others, self.rows),
            _invariants(model, self.centres, seed),
        )
        draw = torch.Generator().manual_seed(seed)
        weights = {s: float64(w) for s, w in sorted(model.sites(self.target_modules).items())}
        edits = {site: self._edit(task, weight, draw) for site, weight in weights.items()}
        thin = {site: compress([edit.change]) for site, edit in edits.items()}
        payload = FactorShift(
            {site: change.left.float() for site, change in thin.items()},
            {site: change.right.float() for site, change in thin.items()},
        )
        return Solution(payload, _facts(task, weights, edits))

    def _edit(self, task: _Task, weight: Tensor, draw: torch.Generator) -> _Edit:
        spared = self._spared(task, weight, draw)
        basis = quiet_directions(spared, threshold=self.threshold)
        if not len(basis):
            raise NullSpaceExhausted(
                f"what is retained has an energy of at least {self.threshold:g} in every direction "
                "of the text space, so no direction is left to act in. "
                "Raise threshold, or retain fewer concepts."
            )
        found = null_edit(*task.moved, basis, task.fixed, ridge=self.ridge, slack=self.lamb)
        return _Edit(LowRank(weight @ found.left, found.right), len(spared), len(basis))

    def _spared(self, task: _Task, weight: Tensor, draw: torch.Generator) -> Tensor:
        """The retained rows that an unconstrained edit would hurt most, and samples near them."""
        damage = _damage(task.retained, task.moved, weight)
        bound = float(damage.mean())
        kept = task.retained[damage > bound] if self.filter == "influence" else task.retained
        weakest = torch.linalg.svd(weight)[2][-1]
        sizes = torch.randn(len(kept) * self.samples, 1, generator=draw, dtype=torch.float64)
        near = kept.repeat_interleave(self.samples, dim=0) + sizes * weakest
        hurt = _damage(near, task.moved, weight) > bound
        return torch.cat([kept, near[hurt]])


def _damage(rows: Tensor, moved: Pairs, weight: Tensor) -> Tensor:
    """How far the values of rows would move if nothing were spared: ``(n,)``."""
    count = len(moved.targets)
    system = torch.eye(count, dtype=torch.float64) + moved.targets @ moved.targets.T / count
    seen = torch.linalg.solve(system, moved.targets @ rows.T)
    gap = weight @ (moved.anchors - moved.targets).T / count
    damage: Tensor = torch.linalg.vector_norm(gap @ seen, dim=0)
    return damage


def _invariants(model: Backend, centres: int, seed: int) -> Tensor:
    """The start row, which every prompt shares, and centres of the blank prompt's other rows."""
    rows = encoded(model, BLANK.prompts)[0]
    return torch.cat([rows[:1], k_means(rows[1:], centres, seed=seed)])


def _facts(
    task: _Task, weights: Mapping[str, Tensor], edits: Mapping[str, _Edit]
) -> dict[str, Scalar]:
    """What is to be told of a solution; effects are those on what the sites read."""
    missed, gaps, drift, leak = 0.0, 0.0, 0.0, 0.0
    for site, weight in weights.items():
        change = edits[site].change
        gap = (task.moved.anchors - task.moved.targets) @ weight.T
        missed += float((gap - _seen(task.moved.targets, change)).square().sum())
        gaps += float(gap.square().sum())
        drift = max(drift, _worst(task.retained, change, weight))
        leak = max(leak, _worst(task.fixed, change, weight))
    return {
        "rows": len(task.moved.targets),
        "retained": len(task.retained),
        "spared": sum(edit.spared for edit in edits.values()) / len(edits),
        "free": sum(edit.free for edit in edits.values()) / len(edits),
        "residual": (missed / gaps) ** 0.5,
        "moved": drift,
        "leak": leak,
    }


def _seen(rows: Tensor, change: LowRank) -> Tensor:
    return rows @ change.right.T @ change.left.T


def _worst(rows: Tensor, change: LowRank, weight: Tensor) -> float:
    """Largest change of a row's values, relative to the values."""
    moved = torch.linalg.vector_norm(_seen(rows, change), dim=1)
    return float((moved / torch.linalg.vector_norm(rows @ weight.T, dim=1)).max())
