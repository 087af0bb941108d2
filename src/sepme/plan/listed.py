"""What one concept is up against: everything that must be left alone when it is erased."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from sepme.core.concept import BLANK, Concept
from sepme.errors import NullSpaceExhausted
from sepme.linalg.null_space import NullSpace, null_space, separability

_MAX_COLLIDING = 3
_WORDS = 8  # fewer than any text window holds
_NOTHING = 1e-4
"""Separability that is nothing but rounding."""


@dataclass(frozen=True, slots=True)
class PlanRow:
    """What erasing one concept would take.

    Attributes:
        concept: Name of the concept.
        separability: Share of what sets it apart that listed prompts leave free (0 to 1).
        rank: Dimensions of text space that the listed prompts use.
        free: Dimensions they leave.
        listed: Number of concepts that must be left alone.
        colliding: Listed concepts that overlap with it most; empty unless it is refused.
        same_as: Listed concept that has one of its prompts; "" if none has.
        exhausted: Whether the listed concepts together, none of them alone, leave nothing of it.
        seconds: Longest the fit can take on this machine; the stop usually comes far earlier. None
            for a method that does not train in steps, whose fit is not estimated.
        memory_mb: Memory the fit needs, the model included (megabytes, 10^6 bytes).
        exact: Whether listed prompts can stay exactly as they are.
        ok: Whether it can be erased on its own.
    """

    concept: str
    separability: float
    rank: int
    free: int
    listed: int
    colliding: tuple[str, ...]
    same_as: str
    exhausted: bool
    seconds: float | None
    memory_mb: float
    exact: bool
    ok: bool


@dataclass(frozen=True)
class Listed:
    """Concepts that are erased or left alone, and a reader of their prompts.

    Attributes:
        concepts: Distinct; two can share a name.
        read: Embeddings ``(prompts, tokens, d_text)`` of a concept; reads none twice.
    """

    concepts: Sequence[Concept]
    read: Callable[[Concept], Tensor]

    def rows(self, concepts: Iterable[Concept]) -> Tensor:
        """Rows of all prompts of some concepts, ``(n, d_text)``."""
        return torch.cat([self.read(concept).flatten(0, 1) for concept in concepts])

    def row(
        self,
        concept: Concept,
        space: NullSpace | None,
        *,
        rtol: float,
        cost: tuple[float | None, float],
        least: float | None,
        strict: bool,
        gated: bool = False,
    ) -> PlanRow:
        """What erasing one of them would take.

        Args:
            concept: The concept.
            space: Directions that the others leave.
            rtol: As for `sepme.linalg.null_space.null_space`.
            cost: Seconds and megabytes of its fit.
            least: Separability from which on it is exact; None if the method is not separable.
            strict: Whether it is refused below.
            gated: Whether a prompt that does not say the concept is left alone whatever the room.
        """
        blank = self.read(BLANK)
        others = [other for other in self.concepts if other.name != concept.name]
        same = next((other.name for other in others if self._shares_prompt(concept, other)), "")
        apart = separability(self.read(concept), blank, space) if space else 0.0
        exact = space is not None and least is not None and apart >= least
        ok = not same and (exact or not strict)
        alone = {} if ok else self._left_beside_each(concept, others, rtol)
        crowd = not alone or min(alone.values()) >= (least or 0.0)
        width = blank.shape[-1]
        return PlanRow(
            concept=concept.name,
            separability=apart,
            rank=space.rank if space else width,
            free=width - space.rank if space else 0,
            listed=len(others),
            colliding=tuple(sorted(alone, key=lambda name: (alone[name], name))[:_MAX_COLLIDING]),
            same_as=same,
            exhausted=not ok and crowd and apart < _NOTHING,
            seconds=cost[0],
            memory_mb=cost[1],
            exact=exact or gated,
            ok=ok,
        )

    def _left_beside_each(
        self, concept: Concept, others: Iterable[Concept], rtol: float
    ) -> dict[str, float]:
        """Separability of a concept from each listed concept alone, by name."""
        own, blank = self.read(concept), self.read(BLANK)
        left: dict[str, float] = {}
        for other in others:
            if other != BLANK:
                space = _space(self.rows([BLANK, other]), rtol)
                apart = separability(own, blank, space) if space else 0.0
                left[other.name] = min(apart, left.get(other.name, apart))
        return left

    def _shares_prompt(self, one: Concept, other: Concept) -> bool:
        """Whether two have a prompt of one embedding; only prompts that may have are looked at."""
        if _beginnings(one).isdisjoint(_beginnings(other)):
            return False
        return any(torch.equal(a, b) for a in self.read(one) for b in self.read(other))


@lru_cache(maxsize=4096)
def _beginnings(concept: Concept) -> frozenset[tuple[str, ...]]:
    """First words and signs of prompts, without what tokenizers pay no heed to.

    What comes later can lie outside the text window of both.
    """
    plain = (unicodedata.normalize("NFKC", prompt).casefold() for prompt in concept.prompts)
    return frozenset(tuple(re.findall(r"\w+|[^\w\s]", text)[:_WORDS]) for text in plain)


def _space(rows: Tensor, rtol: float) -> NullSpace | None:
    try:
        return null_space(rows, rtol=rtol)
    except NullSpaceExhausted:
        return None
