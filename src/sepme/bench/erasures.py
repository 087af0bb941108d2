"""Many concepts erased at once or one after another, with what refused and what it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from sepme.bench.crowds import Crowd
from sepme.bench.fits import costed, erased
from sepme.bench.store import Store
from sepme.core.concept import BLANK, Concept
from sepme.core.method import Method
from sepme.core.shift import ConceptShift
from sepme.errors import MethodError
from sepme.linalg.leave_one_out import leave_one_out
from sepme.linalg.null_space import separability
from sepme.pipeline import ErasedPipeline

_RTOL = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Erasure:
    """What fits of some concepts gave.

    Attributes:
        shifts: Those that were made.
        refused: Concept that could not be fitted to what the method said.
        seconds: Of all fits that were made, when they were first made.
    """

    shifts: tuple[ConceptShift, ...]
    refused: Mapping[str, str]
    seconds: float

    @property
    def names(self) -> frozenset[str]:
        """What is erased."""
        return frozenset(c.name for shift in self.shifts for c in shift.concepts)

    def without(self, concept: Concept) -> Erasure | None:
        """What stays when a concept is given back; None if it has no separable shift of its own.

        Args:
            concept: The concept.
        """
        for shift in self.shifts:
            if shift.concepts == (concept,) and shift.separable:
                left = tuple(other for other in self.shifts if other is not shift)
                return Erasure(left, self.refused, 0.0)
        return None


@dataclass(frozen=True, slots=True)
class Eraser:
    """A method at work on a model.

    Attributes:
        model: The model, with nothing erased.
        method: The method.
        store: Where fits and their costs are kept.
        seed: Seed of the fits.
        rest: Whether fits are told of the concepts that nobody erases.
    """

    model: ErasedPipeline
    method: Method
    store: Store = field(repr=False)
    seed: int
    rest: bool

    def told(self, crowd: Crowd) -> tuple[Concept, ...]:
        """What is retained besides what is erased.

        Args:
            crowd: The crowd.
        """
        return crowd.rest if self.rest else ()

    def at_once(self, crowd: Crowd) -> Erasure:
        """Fit everything with the rest left alone, as `Method.fit_many` does.

        A concept that refuses does not keep the others from being fitted, unless all are one fit.

        Args:
            crowd: The crowd.
        """
        whole, rest = crowd.erased, self.told(crowd)
        if self.method.fits_as_one():
            return _pooled([self._fit(self.model, whole, rest)])
        singles = (
            self._fit(self.model, (c,), (*rest, *(other for other in whole if other != c)))
            for c in whole
        )
        return _pooled(list(singles))

    def one_after_another(self, crowd: Crowd) -> Erasure:
        """Fit and erase each concept before the next is known; the rest is known from the start.

        Args:
            crowd: The crowd, in the order of arrival.
        """
        parts = []
        with erased(self.model, ()) as seen:
            for concept in crowd.erased:
                made = self._fit(seen, (concept,), self.told(crowd))
                if made.shifts:
                    seen.erase(*made.shifts, allow_interference=True)
                parts.append(made)
        return _pooled(parts)

    def given_back(
        self, erasure: Erasure, crowd: Crowd, concept: Concept
    ) -> tuple[Erasure, Literal["ledger", "refit"]]:
        """What is in force once a concept is given back, and how.

        Args:
            erasure: Of the whole crowd.
            crowd: The crowd.
            concept: One of the erased.

        Returns:
            What stays: by the ledger, or by a refit of the others where the concept has no
            separable shift of its own.
        """
        left = erasure.without(concept)
        if left is not None:
            return left, "ledger"
        return self.at_once(crowd.without(concept)), "refit"

    def separabilities(self, crowd: Crowd, *, rest: bool) -> tuple[float, ...]:
        """How far each erased concept is apart from all others, as `sepme.plan` says it.

        Args:
            crowd: The crowd.
            rest: Whether the others are all others, or the erased ones only.

        Returns:
            A fraction each; 0 where nothing is left of the text space.
        """
        rtol = getattr(self.method.resolve(self.model.presets.get(self.method.name)), "rtol", _RTOL)
        others = {c: None for c in (BLANK, *self.model.known, *(crowd.rest if rest else ()))}
        rows = [self.model.encode(concept.prompts) for concept in crowd.erased]
        always = self.model.encode([p for c in others for p in c.prompts]).flatten(0, 1)
        spaces = leave_one_out(always, [own.flatten(0, 1) for own in rows], rtol=float(rtol))
        blank = self.model.encode(BLANK.prompts)
        return tuple(
            separability(own, blank, space) if space else 0.0
            for own, space in zip(rows, spaces, strict=True)
        )

    def _fit(
        self, model: ErasedPipeline, concepts: Sequence[Concept], retain: Sequence[Concept]
    ) -> Erasure:
        try:
            shifts, cost = costed(
                model, self.method, concepts, store=self.store, seed=self.seed, retain=retain
            )
        except MethodError as error:
            reason = f"{type(error).__name__}: {error}"
            return Erasure((), dict.fromkeys((c.name for c in concepts), reason), 0.0)
        return Erasure(shifts, {}, cost.seconds)


def _pooled(parts: Sequence[Erasure]) -> Erasure:
    refused = {name: why for part in parts for name, why in part.refused.items()}
    shifts = tuple(chain.from_iterable(part.shifts for part in parts))
    return Erasure(shifts, refused, sum(part.seconds for part in parts))
