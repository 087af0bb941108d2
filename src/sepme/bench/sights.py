"""What is seen in the states of a scene, and every figure of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sepme.bench.gallery import Shot, card
from sepme.bench.timeline import State
from sepme.metrics import feature_distance, largest_difference, psnr
from sepme.verify.evidence import Row
from sepme.verify.rows import OTHER_HEAD

if TYPE_CHECKING:
    from PIL.Image import Image

    from sepme.bench.scenes import Scenes

ACCURACY = {
    "forgotten": "erased_accuracy",
    "restored": "restored_accuracy",
    "regular": "retained_accuracy",
}
"""Role to the metric of its accuracy."""

Group = tuple[int, str, str]
"""Scene, role and split."""


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
        kept: What reprojecting has left of the effect of its own shift; None if there was none.
    """

    state: State
    role: str
    split: str
    before: tuple[Shot, ...]
    after: tuple[Shot, ...]
    leak: float
    kept: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """Every figure of one scene, role and split, at one time or over all."""

    spec: Scenes
    head: str
    group: Group
    time: int | None
    seen: Sequence[Sight] = field(repr=False)

    def rows(self) -> Iterator[Row]:
        """Every figure."""
        before = [shot for sight in self.seen for shot in sight.before]
        after = [shot for sight in self.seen for shot in sight.after]
        role, head = self.group[1], self.head
        if role in ACCURACY:
            yield self._rate("original_accuracy", before, head)
            yield self._rate(ACCURACY[role], after, head)
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
        kept = [sight.kept for sight in self.seen if sight.kept is not None]
        if kept and self.group[2] == "literal":
            yield self.spec.median("reprojected_effect", kept, **self._columns)

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


def pictures(sights: Sequence[Sight]) -> dict[str, Mapping[str, Image]]:
    """The first new wording of each role at the end of each scene, beside the original's.

    Args:
        sights: Of any scenes, in order of time.

    Returns:
        Caption to images.
    """
    last: dict[Group, Sight] = {}
    for sight in sights:
        group = (sight.state.scene, sight.role, sight.split)
        if sight.split != "literal" and (
            group not in last or last[group].state.time < sight.state.time
        ):
            last[group] = sight
    return dict(
        card(f"Scene {scene}, {role}", {"original": seen.before[0], role: seen.after[0]})
        for (scene, role, _), seen in last.items()
    )
