"""What is drawn to compare methods: one task, one method, one fit at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, cycle
from typing import Literal

import numpy as np

from sepme import demo
from sepme.bench.benchmark import in_batches
from sepme.bench.fits import Cost, costed, erased, fitted
from sepme.bench.gallery import Gallery, Shot
from sepme.bench.store import Store
from sepme.bench.wordings import Triples
from sepme.core.concept import Concept
from sepme.core.method import Method
from sepme.core.shift import ConceptShift
from sepme.demo.templates import Split
from sepme.errors import MethodError
from sepme.metrics import largest_difference
from sepme.pipeline import ErasedPipeline
from sepme.verify.cases import Batch, Case, labelled, numbered
from sepme.verify.studio import complete

Stage = Literal["fit", "one restored", "all restored"]
Group = Literal["literal", "templates", "retained"]
GROUPS: tuple[Group, ...] = ("literal", "templates", "retained")


@dataclass(frozen=True, slots=True)
class Task:
    """What is erased at once.

    Attributes:
        head: What all of it is, ``"style"`` or ``"object"``.
        concepts: One, or several that are fitted jointly.
    """

    head: str
    concepts: tuple[Concept, ...]

    @property
    def name(self) -> str:
        """Names of the concepts, joined by "+"."""
        return "+".join(concept.name for concept in self.concepts)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is drawn.

    Attributes:
        templates: Templates of the demo: ``"heldout"`` or ``"train"``.
        least: Fewest images of a group, over all fits.
        fits: Fits that share them.
        seed: Seed of the images.
        steps: Denoising steps of an image.
        restores: Whether concepts are restored.
    """

    templates: Split
    least: int
    fits: int
    seed: int
    steps: int
    restores: bool

    def cases(self, task: Task, group: Group, turn: int) -> tuple[Case, ...]:
        """A fit's own part of a group's cases.

        Args:
            task: The task.
            group: ``"literal"`` and ``"templates"`` name its concepts, in turns; ``"retained"``
                names none of them.
            turn: Which fit, from 0.
        """
        triples, images = self._asked(task, group), self.least
        if group == "retained":  # unstyled prompts name an object only
            styled = accumulate(int(style is not None) for _, style, _ in cycle(triples))
            images = 1 + next(place for place, n in enumerate(styled) if n >= self.least)
        count = in_batches(-(-images // self.fits))
        return numbered(triples, (turn + 1) * count, self.seed)[turn * count :]

    def batch(self, concept: Concept, head: str) -> Batch:
        """One batch of a concept's own prompts."""
        return numbered(labelled(concept, "literal", head), in_batches(1), self.seed)

    def _asked(self, task: Task, group: Group) -> Triples:
        if group == "retained":
            names = {concept.name for concept in task.concepts}
            return [
                (prompt, None if style == demo.PLAIN else style, thing)
                for prompt, style, thing in demo.labelled_prompts(self.templates)
                if not names & {style, thing}
            ]
        split = "literal" if group == "literal" else self.templates
        lists = [labelled(concept, split, task.head) for concept in task.concepts]
        return [triple for turn in zip(*lists, strict=False) for triple in turn]


@dataclass(frozen=True, slots=True)
class Failure:
    """A fit that could not be made.

    Attributes:
        fit: Its seed.
        stage: What it was for.
        reason: What the method said.
    """

    fit: int
    stage: Stage
    reason: str


@dataclass(frozen=True, slots=True)
class Restored:
    """How far a concept's own prompts are from the original after it is given back.

    Attributes:
        stage: ``"one restored"``: of several, the others still erased; or ``"all restored"``.
        how: ``"ledger"``, or ``"refit"`` of what is left where one cannot be given back.
        claimed: Whether exactness is: every active shift lists the concept.
        error: Largest pixel difference, 0 to 255.
        images: How many pairs of images.
    """

    stage: Stage
    how: Literal["ledger", "refit"]
    claimed: bool
    error: int
    images: int


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """What one fit of one task gave.

    Attributes:
        fit: Seed of the fit.
        looks: Group to the original's images and the same cases with the concepts erased.
        restored: What giving back gave, if it was tried.
        failures: Fits for giving back that could not be made.
        cost: Of the fit.
        nbytes: Bytes of all shifts, per concept.
        steps: Optimisation steps of all shifts; 0 where nothing is trained.
    """

    fit: int
    looks: Mapping[Group, tuple[Sequence[Shot], Sequence[Shot]]]
    restored: tuple[Restored, ...]
    failures: tuple[Failure, ...]
    cost: Cost
    nbytes: float
    steps: int


@dataclass(frozen=True, slots=True)
class Crew:
    """A model, and what draws and keeps its images.

    Attributes:
        model: The model, with nothing erased.
        gallery: Draws it.
        store: Keeps fits and figures.
        plan: How much is drawn.
    """

    model: ErasedPipeline
    gallery: Gallery
    store: Store
    plan: Plan

    def take(self, task: Task, method: Method, turn: int) -> Take | Failure:
        """Fit, erase, look, give back.

        Args:
            task: What to erase.
            method: The method.
            turn: Which fit, from 0.

        Returns:
            What was seen, or why there was no fit.
        """
        seed = self.plan.seed + turn
        try:
            shifts, cost = costed(self.model, method, task.concepts, store=self.store, seed=seed)
        except MethodError as error:
            return Failure(seed, "fit", str(error))
        with erased(self.model, shifts) as seen:
            looks = {g: self._look(seen, self.plan.cases(task, g, turn)) for g in GROUPS}
        back, failures = self._back(task, method, shifts, seed) if self.plan.restores else ((), ())
        nbytes = sum(shift.nbytes for shift in shifts) / len(task.concepts)
        told = [shift.provenance.fit.get("steps") for shift in shifts]
        steps = sum(count for count in told if isinstance(count, int))
        return Take(seed, looks, back, failures, cost, nbytes, steps)

    def _look(
        self, seen: ErasedPipeline, cases: tuple[Case, ...]
    ) -> tuple[Sequence[Shot], Sequence[Shot]]:
        after = self.gallery.shoot(cases)
        with seen.backend.pristine():
            return self.gallery.shoot(cases), after

    def _back(
        self, task: Task, method: Method, shifts: Sequence[ConceptShift], seed: int
    ) -> tuple[tuple[Restored, ...], tuple[Failure, ...]]:
        everything = self._all_back(task, shifts)
        if len(task.concepts) == 1:
            return (everything,), ()
        try:
            return (self._one_back(task, method, shifts, seed), everything), ()
        except MethodError as error:
            return (everything,), (Failure(seed, "one restored", str(error)),)

    def _one_back(
        self, task: Task, method: Method, shifts: Sequence[ConceptShift], seed: int
    ) -> Restored:
        """The first concept again, by the ledger if it has a shift of its own."""
        first, *rest = task.concepts
        own = len(shifts) == len(task.concepts)
        left = (
            [shift for shift in shifts if first not in shift.concepts]
            if own
            else fitted(self.model, method, rest, store=self.store, seed=seed)
        )
        with erased(self.model, shifts if own else left) as seen:
            if own:
                seen.restore(first.name)
            before, after = self._look(seen, self.plan.batch(first, task.head))
        claimed = all(first.name in shift.decoupled_from for shift in left)
        pairs = zip(before, after, strict=True)
        error = max(largest_difference(a.pixels, b.pixels) for a, b in pairs)
        return Restored("one restored", "ledger" if own else "refit", claimed, error, len(before))

    def _all_back(self, task: Task, shifts: Sequence[ConceptShift]) -> Restored:
        """Everything again, drawn anew even if the gallery knows the original's images."""
        batch = self.plan.batch(task.concepts[0], task.head)
        key = {
            "restored": sorted(shift.digest for shift in shifts),
            "original": self.gallery.key_of(batch),
        }
        told = self.store.figures(key)
        if told is None:
            before = [shot.pixels for shot in self.gallery.shoot(batch)]
            with erased(self.model, shifts) as seen:
                seen.restore(*seen.erased)
                after = [np.asarray(im) for im in complete(seen, batch, self.plan.steps)]
            pairs = zip(before, after, strict=True)
            told = {"error": max(largest_difference(a, b) for a, b in pairs)}
            self.store.keep_figures(key, told)
        return Restored("all restored", "ledger", True, told["error"], len(batch))
