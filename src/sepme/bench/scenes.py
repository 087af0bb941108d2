"""The paper's scenes: what is forgotten, what comes back, what nobody named (SRS-ME, section 5)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import ClassVar, Literal

from sepme import demo
from sepme.bench.benchmark import Benchmark, Findings
from sepme.bench.cells import Part
from sepme.bench.gallery import Gallery
from sepme.bench.sights import ACCURACY, Figures, Group, Sight, pictures
from sepme.bench.stage import Stage, kept, leak, staged
from sepme.bench.store import Store
from sepme.bench.timeline import CONCEPTS, ROLES, SCENES, State, states
from sepme.core.concept import Concept
from sepme.demo.templates import Split
from sepme.errors import SpecError
from sepme.pipeline import ErasedPipeline
from sepme.verify.cases import Case, labelled, numbered
from sepme.verify.evidence import Row
from sepme.verify.rows import OTHER_HEAD

OBJECTS = (
    "church", "cat", "guitar", "rocket", "pizza", "bicycle", "umbrella", "crown", "penguin",
)  # fmt: skip
"""c0 to c8 of the objects' scenes."""
HEADS = {"styles": "style", "objects": "object"}


@dataclass(frozen=True, kw_only=True)
class Scenes(Benchmark):
    """Scenes 1 to 4 of the paper on nine concepts of the demo model.

    On literal prompts, as the paper does, and on templates no training saw. Every state is drawn
    with seeds of its own, so pooled images differ in prompt or seed. Rows without a time are
    pooled over the states of a scene; ``n`` is at least ``least`` there. ``reprojected_effect`` is
    what reprojecting has left of the effect of shifts in force, 1 all of it; ``n`` counts each of
    them in each state.

    Args:
        domain: ``"styles"`` or ``"objects"``.
        scenes: Which scenes.
        templates: Templates of the demo: ``"heldout"`` to report, ``"train"`` to tune on.
        least: Fewest images behind a pooled figure.
        reproject: Whether shifts fitted earlier in a scene are made to leave alone, in closed form,
            what is named later; for separable methods.
        amplify: As for `sepme.reproject`.

    Raises:
        SpecError: If a value is out of range.
    """

    name: ClassVar[str] = "scenes"
    headline: ClassVar[frozenset[str]] = frozenset(
        {*ACCURACY.values(), "restore_error", "restore_error_unlisted", "reprojected_effect"}
    )
    domain: Literal["styles", "objects"] = "styles"
    scenes: tuple[int, ...] = (1, 2, 3, 4)
    templates: Split = "heldout"
    least: int = 50
    reproject: bool = False
    amplify: float = 1.0

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        self._at_least_one("least")
        if not self.amplify >= 1 or (self.amplify > 1 and not self.reproject):
            raise SpecError(
                f"amplify must be at least 1, and 1 without reproject=true, got {self.amplify:g}."
            )
        if self.domain not in HEADS:
            raise SpecError(f"domain must be one of {sorted(HEADS)}, got {self.domain!r}.")
        if not self.scenes or not set(self.scenes) <= SCENES.keys():
            raise SpecError(f"scenes must be some of {sorted(SCENES)}, got {self.scenes}.")

    def run(self, model: ErasedPipeline, store: Store, *, progress: bool = True) -> Findings:
        """Play the scenes.

        Args:
            model: The demo model, with nothing erased.
            store: Where images and fits are kept between runs.
            progress: Whether to show progress on stderr.

        Returns:
            The rows, and pictures beside the original's.
        """
        gallery = Gallery(model, store, steps=self.steps, progress=progress)
        try:
            sights = [s for scene in self.scenes for s in self._play(scene, model, gallery, store)]
        finally:
            gallery.close()
        return Findings(tuple(self._rows(sights)), pictures(sights))

    def cells(self) -> tuple[Part, ...]:
        """One a scene."""
        return tuple(Part(replace(self, scenes=(scene,))) for scene in self.scenes)

    def _play(
        self, scene: int, model: ErasedPipeline, gallery: Gallery, store: Store
    ) -> Iterator[Sight]:
        method, counts = self.new_method(), self._counts(scene)
        cast = self.cast
        stage = Stage(
            model,
            method=method,
            concepts=cast,
            store=store,
            seed=self.seed,
            amplify=self.amplify if self.reproject else None,
        )
        with staged(stage):
            for state in states(scene):
                stage.enter(state)
                yield from self._look(state, stage.model, gallery, counts)

    def _look(
        self, state: State, model: ErasedPipeline, gallery: Gallery, counts: Mapping[str, int]
    ) -> Iterator[Sight]:
        """Draw every view of a state; views share batches."""
        views = list(self._views(state, model))
        cases = [
            case
            for concept, role, split in views
            for case in self._cases(concept, split, counts[role], state.time)
        ]
        after = iter(gallery.shoot(cases))
        with model.backend.pristine():
            before = iter(gallery.shoot(cases))
        for concept, role, split in views:
            unlisted = leak(model, concept) if role != "forgotten" else 0.0
            was, now = (tuple(islice(shots, counts[role])) for shots in (before, after))
            yield Sight(state, role, split, was, now, unlisted, kept(model, concept))

    @property
    def cast(self) -> tuple[Concept, ...]:
        """c0 to c8."""
        taught = {concept.name: concept for concept in demo.concepts()}
        if self.domain == "objects":
            return tuple(taught[name] for name in OBJECTS)
        return tuple(concept for concept in taught.values() if concept.kind == "style")[:CONCEPTS]

    def _views(self, state: State, model: ErasedPipeline) -> Iterator[tuple[Concept, str, str]]:
        for role in ROLES:
            for i in state.of(role):
                for split in ("literal", self.templates):
                    yield self.cast[i], role, split
        for concept in model.backend.known:
            yield concept, "watermark" if concept.kind == "watermark" else "blank", "literal"

    def _counts(self, scene: int) -> dict[str, int]:
        """Images of a concept in a state and split by role, so that the pool has ``least``."""
        there = list(states(scene))
        shown: dict[str, int] = {
            role: sum(len(state.of(role)) for state in there) for role in ROLES
        }
        shown |= {"blank": len(there), "watermark": 2 * len(there)}
        return {role: -(-self.least // max(1, views)) for role, views in shown.items()}

    def _cases(self, concept: Concept, split: str, count: int, time: int) -> tuple[Case, ...]:
        """The state's own part of the concept's cases."""
        head = HEADS[self.domain] if concept.kind in OTHER_HEAD else None
        triples = labelled(concept, split, head) if head else _bare(concept)
        return numbered(triples, (time + 1) * count, self.seed)[time * count :]

    def _rows(self, sights: Sequence[Sight]) -> Iterator[Row]:
        for time in (None, *sorted({sight.state.time for sight in sights})):
            groups: dict[Group, list[Sight]] = defaultdict(list)
            for sight in sights:
                if time in (None, sight.state.time):
                    groups[sight.state.scene, sight.role, sight.split].append(sight)
            for group, seen in groups.items():
                yield from Figures(self, HEADS[self.domain], group, time, seen).rows()


def _bare(concept: Concept) -> list[tuple[str, str | None, str | None]]:
    return [(prompt, None, None) for prompt in concept.prompts]
