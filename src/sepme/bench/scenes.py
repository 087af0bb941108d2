"""The paper's scenes: what is forgotten, what comes back, what nobody named (SRS-ME, section 5)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar, Literal

from sepme import demo
from sepme.bench.benchmark import Benchmark
from sepme.bench.gallery import Gallery, Shot
from sepme.bench.stage import Stage, leak, staged
from sepme.bench.store import Store
from sepme.bench.timeline import CONCEPTS, ROLES, SCENES, State, states
from sepme.core.concept import Concept
from sepme.errors import SpecError
from sepme.metrics import feature_distance, largest_difference, psnr
from sepme.pipeline import ErasedPipeline
from sepme.verify.cases import Case, labelled, numbered
from sepme.verify.evidence import Row
from sepme.verify.rows import OTHER_HEAD

OBJECTS = (
    "church", "cat", "guitar", "rocket", "pizza", "bicycle", "umbrella", "crown", "penguin",
)  # fmt: skip
"""c0 to c8 of the objects' scenes."""
_HEAD = {"styles": "style", "objects": "object"}
_ACCURACY = {
    "forgotten": "erased_accuracy",
    "restored": "restored_accuracy",
    "regular": "retained_accuracy",
}
_SPLITS = ("literal", "heldout")

Group = tuple[int, str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """Images of one concept in one state, beside the original model's.

    Attributes:
        state: The state.
        role: The concept's role in it.
        split: Which prompts.
        before: The original's images.
        after: The same cases in this state.
        leak: How far shifts that do not list the concept reach it; 0 where exactness is claimed.
    """

    state: State
    role: str
    split: str
    before: tuple[Shot, ...]
    after: tuple[Shot, ...]
    leak: float


@dataclass(frozen=True, kw_only=True)
class Scenes(Benchmark):
    """Scenes 1 to 4 of the paper on nine concepts of the demo model.

    On literal prompts, as the paper does, and on templates no training saw. Every state is drawn
    with seeds of its own, so pooled images differ in prompt or seed. Rows without a time are
    pooled over the states of a scene; ``n`` is at least ``least`` there.

    Args:
        domain: ``"styles"`` or ``"objects"``.
        scenes: Which scenes.
        least: Fewest images behind a pooled figure.

    Raises:
        SpecError: If a value is out of range.
    """

    name: ClassVar[str] = "scenes"
    headline: ClassVar[frozenset[str]] = frozenset(
        {*_ACCURACY.values(), "restore_error", "restore_error_unlisted"}
    )
    domain: Literal["styles", "objects"] = "styles"
    scenes: tuple[int, ...] = (1, 2, 3, 4)
    least: int = 50

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        self._at_least_one("least")
        if self.domain not in _HEAD:
            raise SpecError(f"domain must be one of {sorted(_HEAD)}, got {self.domain!r}.")
        if not self.scenes or not set(self.scenes) <= SCENES.keys():
            raise SpecError(f"scenes must be some of {sorted(SCENES)}, got {self.scenes}.")

    def run(self, model: ErasedPipeline, store: Store, *, progress: bool = True) -> list[Row]:
        """Play the scenes.

        Args:
            model: The demo model, with nothing erased.
            store: Where images and fits are kept between runs.
            progress: Whether to show progress on stderr.

        Returns:
            The rows.
        """
        gallery = Gallery(model, store, steps=self.steps, progress=progress)
        try:
            sights = [s for scene in self.scenes for s in self._play(scene, model, gallery, store)]
        finally:
            gallery.close()
        return list(self._rows(sights))

    def _play(
        self, scene: int, model: ErasedPipeline, gallery: Gallery, store: Store
    ) -> Iterator[Sight]:
        method, counts = self.new_method(), self._counts(scene)
        cast = self.cast
        stage = Stage(model, method=method, concepts=cast, store=store, seed=self.seed)
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
            yield Sight(state, role, split, was, now, unlisted)

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
                for split in _SPLITS:
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
        head = _HEAD[self.domain] if concept.kind in OTHER_HEAD else None
        triples = labelled(concept, split, head) if head else _bare(concept)
        return numbered(triples, (time + 1) * count, self.seed)[time * count :]

    def _rows(self, sights: Sequence[Sight]) -> Iterator[Row]:
        for time in (None, *sorted({sight.state.time for sight in sights})):
            groups: dict[Group, list[Sight]] = defaultdict(list)
            for sight in sights:
                if time in (None, sight.state.time):
                    groups[sight.state.scene, sight.role, sight.split].append(sight)
            for group, seen in groups.items():
                yield from _Figures(self, group, time, seen).rows()


def _bare(concept: Concept) -> list[tuple[str, str | None, str | None]]:
    return [(prompt, None, None) for prompt in concept.prompts]


@dataclass(frozen=True, slots=True)
class _Figures:
    """Every figure of one scene, role and split, at one time or over all."""

    spec: Scenes
    group: Group
    time: int | None
    seen: Sequence[Sight] = field(repr=False)

    def rows(self) -> Iterator[Row]:
        before = [shot for sight in self.seen for shot in sight.before]
        after = [shot for sight in self.seen for shot in sight.after]
        role, head = self.group[1], _HEAD[self.spec.domain]
        if role in _ACCURACY:
            yield self._rate("original_accuracy", before, head)
            yield self._rate(_ACCURACY[role], after, head)
            other = OTHER_HEAD[head]
            if any(shot.case.label(other) for shot in after):
                yield self._rate("original_cross_domain_accuracy", before, other)
                yield self._rate("cross_domain_accuracy", after, other)
        ratios = [psnr(a.pixels, b.pixels) for a, b in zip(before, after, strict=True)]
        yield self.spec.median("drift_psnr", ratios, **self._columns)
        features = [
            float(feature_distance(a.features[None], b.features[None]))
            for a, b in zip(before, after, strict=True)
        ]
        yield self.spec.median("drift_features", features, **self._columns)
        if self.group[2] == "literal" and role in ("restored", "blank", "watermark"):
            yield from self._errors()

    def _errors(self) -> Iterator[Row]:
        """Largest pixel differences, apart for where exactness is claimed and where it is not."""
        for metric, sights in (
            ("restore_error", [sight for sight in self.seen if sight.leak == 0]),
            ("restore_error_unlisted", [sight for sight in self.seen if sight.leak > 0]),
        ):
            errors = [
                largest_difference(a.pixels, b.pixels)
                for sight in sights
                for a, b in zip(sight.before, sight.after, strict=True)
            ]
            if errors:
                worst = max(sight.leak for sight in sights)
                yield self.spec.row(metric, max(errors), len(errors), **self._columns, leak=worst)

    def _rate(self, metric: str, shots: Sequence[Shot], head: str) -> Row:
        hits = [shot.hit(head) for shot in shots if shot.case.label(head) is not None]
        return self.spec.rate(metric, hits, **self._columns)

    @property
    def _columns(self) -> dict[str, Any]:
        scene, role, split = self.group
        place = {"domain": self.spec.domain, "scene": scene, "time": self.time}
        return {"concepts": role, "split": split, **place}
