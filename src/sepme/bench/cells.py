"""Parts of a benchmark, or of a fit of many concepts, that can be made on their own anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

from sepme.bench.fits import circumstances, fitted, key_of
from sepme.core.concept import Concept
from sepme.core.listing import apart
from sepme.core.method import Method
from sepme.core.shift import ConceptShift

if TYPE_CHECKING:
    from sepme.bench.benchmark import Benchmark
    from sepme.bench.store import Key, Store
    from sepme.pipeline import ErasedPipeline


class Cell(Protocol):
    """Something to make whose results a store keeps; plain data, so that it can be sent."""

    def done(self, model: ErasedPipeline, store: Store) -> bool:
        """Whether the store has what it makes.

        Args:
            model: The model.
            store: The store.
        """

    def make(self, model: ErasedPipeline, store: Store) -> None:
        """Make it and keep it.

        Args:
            model: The model.
            store: The store.
        """


@dataclass(frozen=True)
class Fit:
    """A fit of one of several concepts, the others being left alone, or of all as one.

    Attributes:
        method: The method.
        concepts: What is erased, in this fit and those beside it.
        retain: What to leave alone besides.
        seed: Seed of the fit.
        which: Place of the concept to fit; None fits all as one.
    """

    method: Method
    concepts: tuple[Concept, ...]
    retain: tuple[Concept, ...]
    seed: int
    which: int | None = None

    def done(self, model: ErasedPipeline, store: Store) -> bool:
        """Whether the store has the shifts."""
        concepts, retain = self._asked
        return store.shifts(key_of(model, self.method, concepts, self.seed, retain)) is not None

    def make(self, model: ErasedPipeline, store: Store) -> None:
        """Fit."""
        self.shifts(model, store)

    def shifts(self, model: ErasedPipeline, store: Store) -> tuple[ConceptShift, ...]:
        """The shifts, from the store if they are there.

        Args:
            model: The model.
            store: The store.
        """
        concepts, retain = self._asked
        return fitted(model, self.method, concepts, store=store, seed=self.seed, retain=retain)

    @property
    def _asked(self) -> tuple[tuple[Concept, ...], tuple[Concept, ...]]:
        """What to fit, and what to leave alone meanwhile; not kept, for it grows with the list."""
        if self.which is None:
            return self.concepts, self.retain
        before, after = self.concepts[: self.which], self.concepts[self.which + 1 :]
        return (self.concepts[self.which],), (*self.retain, *before, *after)


@dataclass(frozen=True)
class Part:
    """A benchmark with options so narrow that it is a part of a whole one.

    Attributes:
        benchmark: The benchmark.
    """

    benchmark: Benchmark

    def done(self, model: ErasedPipeline, store: Store) -> bool:
        """Whether it was run before; what the store has lost since is made by the whole run."""
        return store.figures(self._key(model)) is not None

    def make(self, model: ErasedPipeline, store: Store) -> None:
        """Run it, for what it leaves in the store."""
        self.benchmark.run(model, store, progress=False)
        store.keep_figures(self._key(model), {"done": True})

    def _key(self, model: ErasedPipeline) -> Key:
        return {
            "part": self.benchmark.name,
            "options": asdict(self.benchmark),
            "base": model.fingerprint,
            "known": [concept.to_dict() for concept in model.known],
            **circumstances(model),
        }


def fits_of(
    method: Method,
    model: ErasedPipeline,
    concepts: Sequence[Concept],
    *,
    retain: Sequence[Concept],
    seed: int,
) -> tuple[Fit, ...]:
    """The fits that `Method.fit_many` is made of.

    Args:
        method: The method.
        model: The model.
        concepts: What to erase.
        retain: What to leave alone, besides ``model.known``.
        seed: Seed of everything random.

    Returns:
        One a concept; one for all if the method fits them as one; none for no concepts.

    Raises:
        MethodError: If a concept comes twice, or is to be left alone too.
    """
    if not concepts:
        return ()
    apart(model, concepts, retain)
    chosen = method.resolve(model.presets.get(method.name))
    whole = Fit(chosen, tuple(concepts), tuple(retain), seed)
    if method.fits_as_one():
        return (whole,)
    shared = (whole.method, whole.concepts, whole.retain, whole.seed)
    return tuple(Fit(*shared, which=place) for place in range(len(concepts)))
