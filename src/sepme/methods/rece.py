"""RECE: UCE in rounds, each of which also erases what the edit so far can be evaded with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from sepme.core.backend import CROSS_ATTN_KV, Backend
from sepme.core.concept import Concept
from sepme.core.method import from_paper
from sepme.core.text_shift import TextShift
from sepme.linalg.low_rank import LowRank, compress
from sepme.linalg.text_map import RTOL_FLOAT32, adversarial_rows, chained, text_gram, text_map
from sepme.methods._rows import Pairs, all_rows, encoded, pairs, text_facts
from sepme.methods._together import Solution, Together


class _Task(NamedTuple):
    """Rows of a fit: those UCE moves, those rounds seek adversaries of, and those to keep."""

    moved: Pairs
    sought: Pairs
    retained: Tensor
    gram: Tensor


@dataclass(frozen=True, kw_only=True)
class RECE(Together):
    """Map a concept to its anchor, then again whatever embedding still brings it back.

    Starts from the map of UCE. Each round takes, for every row ``e`` of the concept's prompts,
    the adversarial row ``e'`` that makes the edited weights answer as the originals answered
    ``e``, ``min sum_l |W_l e' - W0_l e|^2 + lam_r |e'|^2``, and edits the current weights by a
    step of UCE that sends ``e'`` to the anchor (RECE, closed form). Every step multiplies all
    weights by one map of text space, so the product of the rounds is one map ``W0 (I + M)``. The
    number of rounds is fixed: no image decides it.

    Args:
        regular: lam_r, weight of small adversarial rows; the larger, the less a round changes
            (official code: 0.1 for nudity and easy objects, 0.001 for artists and hard ones).
        rounds: Rounds after UCE (official code: 3 for nudity, 1 for artists).
        erase_scale: s_e, weight of the rows to move (official code: 1).
        preserve_scale: s_p, weight of what is left alone (official code: 0.1).
        lamb: lambda of a round, weight of leaving every direction alone (official code: 0.1).
        start_lamb: lambda of the UCE it starts from (official code: 0.5).
        target_modules: Sites to change, a regular expression for the module path.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = RECE(rounds=1).resolve({"regular": 0.001})
        >>> chosen.rounds, chosen.regular, chosen.lamb
        (1, 0.001, 0.1)
    """

    name: ClassVar[str] = "rece"
    paper: ClassVar[str] = "https://arxiv.org/abs/2407.12383"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "closed-form"
    separable: ClassVar[bool] = False
    restorable: ClassVar[str] = "all concepts of one solve together, exactly"
    cost: ClassVar[str] = "two linear systems a round, as wide as the text embedding, no image"

    regular: float = from_paper(0.1, above=0)
    rounds: int = from_paper(3, least=0)
    erase_scale: float = from_paper(1.0, above=0)
    preserve_scale: float = from_paper(0.1, least=0)
    lamb: float = from_paper(0.1, above=0)
    start_lamb: float = from_paper(0.5, above=0)
    target_modules: str = from_paper(CROSS_ATTN_KV)

    def _solve(
        self, model: Backend, concepts: tuple[Concept, ...], others: tuple[Concept, ...], seed: int
    ) -> Solution:
        sites = model.sites(self.target_modules)
        task = _Task(
            pairs(model, concepts, "to-end"),
            _whole(model, concepts),
            all_rows(model, others),
            text_gram(sites.values()),
        )
        start = self._map(task.moved, task.retained, self.start_lamb)
        found = compress([self._rounds(task, start)], rtol=RTOL_FLOAT32)
        facts = {
            **text_facts(found, task.moved, task.retained),
            "distance_start": self._distance(task, start),
            "distance": self._distance(task, found),
        }
        return Solution(TextShift(found.left.float(), found.right.float(), tuple(sites)), facts)

    def _map(self, moved: Pairs, retained: Tensor, lamb: float) -> LowRank:
        return text_map(
            moved.targets,
            moved.anchors,
            retained,
            erase_scale=self.erase_scale,
            preserve_scale=self.preserve_scale,
            lamb=lamb,
        )

    def _rounds(self, task: _Task, found: LowRank) -> LowRank:
        for _ in range(self.rounds):
            words, anchors = task.sought
            rows = adversarial_rows(words, task.gram, found, lamb=self.regular)
            found = chained(found, self._map(Pairs(rows, anchors), task.retained, self.lamb))
        return found

    def _distance(self, task: _Task, found: LowRank) -> float:
        """How far the nearest adversaries stay from the originals' keys and values (0 to 1)."""
        words, gram = task.sought.targets, task.gram
        rows = adversarial_rows(words, gram, found, lamb=self.regular)
        gap = rows + rows @ found.right.T @ found.left.T - words
        left = _square(gap, gram) + self.regular * float(rows.square().sum())
        return float((left / _square(words, gram)) ** 0.5)


def _square(rows: Tensor, gram: Tensor) -> float:
    """Squared norm of what all sites make of the rows."""
    return float(((rows @ gram) * rows).sum())


def _whole(model: Backend, concepts: tuple[Concept, ...]) -> Pairs:
    """Every row of every prompt, and the anchor's row in the same place."""
    found = [
        (encoded(model, (prompt,))[0], encoded(model, (concept.anchor,))[0])
        for concept in concepts
        for prompt in concept.prompts
    ]
    targets, anchors = (torch.cat(part) for part in zip(*found, strict=True))
    return Pairs(targets, anchors)
