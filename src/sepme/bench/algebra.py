"""What shifts do to one another: separability, subsets, order, restoration and rebound."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from sepme.bench.benchmark import Benchmark, Columns, Findings, in_batches, taught
from sepme.bench.cells import Fit
from sepme.bench.fits import erased
from sepme.bench.gallery import Gallery, Shot
from sepme.bench.store import Store
from sepme.bench.subsets import name_of, order_error, probe, subsets
from sepme.core.concept import Concept
from sepme.core.shift import ConceptShift
from sepme.errors import SpecError
from sepme.linalg.separability import separability_matrix
from sepme.metrics import feature_distance, largest_difference, paired_drop
from sepme.pipeline import ErasedPipeline
from sepme.verify.cases import Case, labelled, numbered
from sepme.verify.evidence import Row

MOST = 5
"""Most concepts: all subsets of them are looked at."""


@dataclass(frozen=True, kw_only=True)
class Algebra(Benchmark):
    """Concepts come and go in every combination, on their own (listed) prompts.

    Each is fitted alone with the others retained, whatever the method. The column ``level`` tells
    where a figure was taken:

    - ``keys-values``: ``separability``, the effect of ``concept_i``'s shift on the prompts of
      ``concept_j`` relative to that on its own.
    - ``noise``: ``drift_noise``, the relative change of the predicted noise at fixed noised
      latents; also the largest for every subset, over listed prompts that it does not erase.
    - ``images``: ``drift_features``, the distance of the detector's features; ``restore_error``
      (0-255) where a concept is given back, the others still erased, and where all are.
    - ``weights``: ``subset_error``, the largest difference of a weight between composing a subset
      and reaching it by erasing and restoring in random orders.
    - ``sequence``: ``erased_accuracy`` along a random sequence of erasing and restoring, and
      ``rebound``, how much more often a concept is seen there than when it is erased alone. Both
      are those of the sequence's worst state; intervals do not know that it was picked.

    Args:
        concepts: Two to five.
        orders: Random orders for each subset.
        toggles: Length of the sequence.
        least: Fewest images of a concept in a state.

    Raises:
        SpecError: If a value is out of range.
    """

    name: ClassVar[str] = "algebra"
    headline: ClassVar[frozenset[str]] = frozenset(
        ("separability", "drift_noise", "drift_features", "subset_error", "restore_error",
         "erased_accuracy", "rebound")
    )  # fmt: skip
    concepts: tuple[str, ...] = ("van-gogh", "hokusai", "cat")
    orders: int = 4
    toggles: int = 8
    least: int = 24

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        self._at_least_one("orders", "toggles", "least")
        taught(self.concepts)
        if not 2 <= len(self.concepts) <= MOST:
            raise SpecError(f"2 to {MOST} concepts are needed, got {len(self.concepts)}.")

    def run(self, model: ErasedPipeline, store: Store, *, progress: bool = True) -> Findings:
        """Measure every level.

        Args:
            model: The demo model, with nothing erased.
            store: Where images and fits are kept between runs.
            progress: Whether to show progress on stderr.

        Returns:
            The rows.
        """
        cast = taught(self.concepts)
        gallery = Gallery(model, store, steps=self.steps, progress=progress)
        try:
            shifts = {fit.concepts[0].name: fit.shifts(model, store)[0] for fit in self.cells()}
            room = _Room(self, model, gallery, cast, shifts)
            return Findings(
                (
                    *room.keys_values(),
                    *room.noise(),
                    *room.images(),
                    *room.subsets(),
                    *room.restored(),
                    *room.sequence(),
                )
            )
        finally:
            gallery.close()

    def cells(self) -> tuple[Fit, ...]:
        """The fit of each concept alone."""
        method, cast = self.new_method(), taught(self.concepts)
        others = {concept: tuple(c for c in cast if c is not concept) for concept in cast}
        return tuple(Fit(method, (c,), alone, self.seed) for c, alone in others.items())

    def path(self) -> Iterator[frozenset[str]]:
        """What is erased after each step of the random sequence."""
        draw = random.Random(self.seed)  # noqa: S311 (an order, not a secret)
        active: frozenset[str] = frozenset()
        for _ in range(self.toggles):
            active ^= {draw.choice(self.concepts)}
            yield active


@dataclass(frozen=True, slots=True, eq=False)
class _Room:
    """The concepts with their shifts, and everything that measures them."""

    spec: Algebra
    model: ErasedPipeline
    gallery: Gallery
    cast: tuple[Concept, ...]
    shifts: Mapping[str, ConceptShift]

    def keys_values(self) -> Iterator[Row]:
        sites = self.model.sites()
        deltas = (
            {
                site: shift.payload.delta(site, sites[site])
                for site in shift.payload.sites
                if site in sites
            }
            for shift in self.shifts.values()
        )
        table = separability_matrix([self.model.encode(c.prompts) for c in self.cast], deltas)
        for i, one in enumerate(self.cast):
            for j, two in enumerate(self.cast):
                columns = _cell(one, two, "keys-values")
                yield self.spec.row("separability", float(table[i, j]), len(two.prompts), **columns)

    def noise(self) -> Iterator[Row]:
        for two in self.cast:
            found = probe(self.model, two, seed=self.spec.seed)
            for one in self.cast:
                values = found.change(self.model, [self.shifts[one.name]])
                yield self.spec.median("drift_noise", values, **_cell(one, two, "noise"))

    def images(self) -> Iterator[Row]:
        for one in self.cast:
            for two in self.cast:
                before, after = self._pairs(two, {one.name})
                features = [torch.stack([shot.features for shot in s]) for s in (before, after)]
                values = feature_distance(*features).tolist()
                yield self.spec.median("drift_features", values, **_cell(one, two, "images"))

    def subsets(self) -> Iterator[Row]:
        shifts = list(self.shifts.values())
        draw = random.Random(self.spec.seed)  # noqa: S311 (an order, not a secret)
        listed = (*self.model.backend.known, *self.cast)
        probes = {c.name: probe(self.model, c, seed=self.spec.seed) for c in listed}
        for subset in subsets(shifts):
            columns: Columns = {"concepts": name_of(subset), "split": "literal"}
            errors = [
                order_error(self.model, shifts, subset, draw=draw) for _ in range(self.spec.orders)
            ]
            yield self.spec.row(
                "subset_error", max(errors), len(errors), **columns, level="weights"
            )
            gone = {c.name for shift in subset for c in shift.concepts}
            changes = [
                change
                for name, found in probes.items()
                if name not in gone
                for change in found.change(self.model, subset)
            ]
            yield self.spec.row("drift_noise", max(changes), len(changes), **columns, level="noise")

    def restored(self) -> Iterator[Row]:
        everyone = set(self.shifts)
        for concept in self.cast:
            before, after = self._pairs(concept, everyone - {concept.name}, given_back=concept)
            yield self._error(concept.name, before, after)
        pairs = [self._pairs(concept, set()) for concept in self.cast]
        before, after = ([shot for pair in pairs for shot in pair[k]] for k in (0, 1))
        yield self._error("all", before, after)

    def sequence(self) -> Iterator[Row]:
        alone = {c.name: _seen(self._pairs(c, {c.name})[1]) for c in self.cast}
        along: dict[str, list[list[bool]]] = {c.name: [] for c in self.cast}
        columns: Columns = {"split": "literal", "level": "sequence"}
        for time, active in enumerate(self.spec.path()):
            for concept in self.cast:
                if concept.name not in active:
                    continue
                hits = _seen(self._pairs(concept, active)[1])
                along[concept.name].append(hits)
                yield self.spec.rate(
                    "erased_accuracy", hits, concepts=concept.name, **columns, time=time
                )
        for name, turns in along.items():
            if not turns:
                continue
            ours: Columns = {"concepts": name, **columns, "time": None}
            worst = max(turns, key=sum)
            yield self.spec.rate("erased_accuracy", worst, **ours)
            more, low, high = paired_drop(worst, alone[name])
            yield self.spec.row("rebound", more, len(worst), (low, high), **ours)

    def _pairs(
        self, concept: Concept, active: set[str] | frozenset[str], given_back: Concept | None = None
    ) -> tuple[list[Shot], list[Shot]]:
        """A concept's images by the original and with some concepts erased."""
        cases = self._cases(concept)
        with self.model.backend.pristine():
            before = self.gallery.shoot(cases)
        names = active | ({given_back.name} if given_back else set())
        with erased(self.model, [self.shifts[name] for name in sorted(names)]) as seen:
            if given_back:
                seen.restore(given_back.name)
            return before, self.gallery.shoot(cases)

    def _cases(self, concept: Concept) -> tuple[Case, ...]:
        count = in_batches(self.spec.least)
        return numbered(labelled(concept, "literal", concept.kind), count, self.spec.seed)

    def _error(self, concepts: str, before: Sequence[Shot], after: Sequence[Shot]) -> Row:
        errors = [
            largest_difference(a.pixels, b.pixels) for a, b in zip(before, after, strict=True)
        ]
        columns: Columns = {"concepts": concepts, "split": "literal", "level": "images"}
        return self.spec.row("restore_error", max(errors), len(errors), **columns)


def _cell(one: Concept, two: Concept, level: str) -> Columns:
    return {
        "concepts": two.name,
        "split": "literal",
        "level": level,
        "concept_i": one.name,
        "concept_j": two.name,
    }


def _seen(shots: Sequence[Shot]) -> list[bool]:
    return [
        shot.hit(head)
        for shot in shots
        for head in ("style", "object")
        if shot.case.label(head) is not None
    ]
