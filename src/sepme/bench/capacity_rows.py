"""What is drawn of many erased concepts, and every figure that follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import TYPE_CHECKING, Any

from sepme.bench.crowds import Crowd, Role, asking_for, turn_of
from sepme.bench.erasures import Eraser, Erasure
from sepme.bench.fits import erased
from sepme.bench.gallery import Gallery, Shot
from sepme.core.concept import Concept
from sepme.metrics import paired_drop
from sepme.verify.cases import Case
from sepme.verify.evidence import Row

if TYPE_CHECKING:
    from sepme.bench.capacity import Capacity

METRICS: Mapping[Role, str] = {
    "erased": "erased_accuracy",
    "retained": "retained_accuracy",
    "restored": "restored_accuracy",
}
_DOMAINS = {"styles": ("style",), "objects": ("object",), "all": ("style", "object")}
"""Detector heads that a figure is made of."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Images of one role.

    Attributes:
        concepts: Whose they are: the role, or the name of one concept.
        role: What they are asked for.
        split: Which prompts.
        cases: What to draw, in whole batches.
    """

    concepts: str
    role: Role
    split: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """The same images without and with the shifts.

    Attributes:
        ask: What was asked for.
        before: The original's.
        after: With the shifts in force.
    """

    ask: Ask
    before: Sequence[Shot]
    after: Sequence[Shot]

    def hits(self, heads: Sequence[str]) -> tuple[list[bool], list[bool]]:
        """Whether each image shows what was asked for, before and after.

        Args:
            heads: Detector heads to ask, where the case has a label for them.
        """
        before, after = (
            [shot.hit(h) for shot in shots for h in heads if shot.case.label(h) is not None]
            for shots in (self.before, self.after)
        )
        return before, after


@dataclass(frozen=True, slots=True)
class Watch:
    """One method, and what draws and judges its images.

    Attributes:
        spec: The benchmark.
        eraser: The method.
        gallery: Draws.
    """

    spec: Capacity
    eraser: Eraser = field(repr=False)
    gallery: Gallery = field(repr=False)

    def all_erased(self, crowd: Crowd, erasure: Erasure) -> list[Look]:
        """Look at everything that is erased and at the rest.

        Args:
            crowd: What was to be erased, also what refused.
            erasure: What was fitted of it.

        Returns:
            Nothing if everything refused.
        """
        if not erasure.shifts:
            return []
        roles: tuple[Role, ...] = ("erased", "retained")
        asks = [
            Ask(role, role, split, turn_of(crowd.asked(role, split), images, self.spec.seed))
            for role in roles
            for split, images in self._splits().items()
        ]
        return self._look(erasure, asks)

    def one_restored(
        self, crowd: Crowd, erasure: Erasure, chosen: Sequence[Concept], columns: Mapping[str, Any]
    ) -> Iterator[Row]:
        """Give concepts back, one at a time, and look at them and at the others.

        Args:
            crowd: What is erased.
            erasure: How.
            chosen: What to give back in turns.
            columns: Of every row.

        Yields:
            Rows of each chosen concept, then of all of them together.
        """
        looks: list[Look] = []
        how: list[str] = []
        for turn, concept in enumerate(chosen):
            left, by = self.eraser.given_back(erasure, crowd, concept)
            if by == "refit" and left.refused:
                yield self.failed(left, len(crowd.erased) - 1, columns)
                continue
            how.append(by)
            looks += self._look(left, self._restored_asks(crowd, concept, turn, len(chosen)))
        shared = {**columns, "restored_by": "+".join(dict.fromkeys(how))}
        yield from self.rates(looks, shared)
        yield from self.rates(pooled(looks), shared)

    def rates(self, looks: Sequence[Look], columns: Mapping[str, Any]) -> Iterator[Row]:
        """Rates of what was asked for, the original's beside them, and how much they fell.

        Args:
            looks: What was seen.
            columns: Of every row.
        """
        for look in looks:
            for domain, heads in _DOMAINS.items():
                before, after = look.hits(heads)
                if after and (domain != "all" or look.ask.role != "retained"):
                    yield from self._rates(look.ask, before, after, {**columns, "domain": domain})

    def facts(self, crowd: Crowd, erasure: Erasure, columns: Mapping[str, Any]) -> Iterator[Row]:
        """What the fits say without an image: refusals, seconds, exactness and separability.

        Args:
            crowd: What was to be erased.
            erasure: What was fitted of it.
            columns: Of every row.
        """
        size = len(crowd.erased)
        shared = {**columns, "concepts": "erased", "split": "none", "domain": "all"}
        yield self.failed(erasure, size, columns)
        yield self.spec.row("seconds", erasure.seconds, len(erasure.names), **shared)
        exact = sum(len(s.concepts) for s in erasure.shifts if s.decoupled_from)
        yield self.spec.row("exact", exact, size, **shared)
        for listed in ("erased", "all") if self.eraser.rest else ("erased",):
            found = self.eraser.separabilities(crowd, rest=listed == "all")
            ends: dict[str, Any] = {"lowest": min(found), "highest": max(found)}
            yield self.spec.row("separability", mean(found), size, **shared, listed=listed, **ends)

    def failed(self, erasure: Erasure, size: int, columns: Mapping[str, Any]) -> Row:
        """How many of some concepts could not be fitted, and why.

        Args:
            erasure: What was fitted.
            size: How many there were to fit.
            columns: Of the row.
        """
        told: dict[str, Any] = {
            "refused": "+".join(erasure.refused),
            "reason": next(iter(erasure.refused.values()), ""),
        }
        where: dict[str, Any] = {"concepts": "erased", "split": "none", "domain": "all"}
        return self.spec.row("failed", len(erasure.refused), size, **columns, **where, **told)

    def _splits(self) -> dict[str, int]:
        return {"literal": -(-self.spec.images // 2), self.spec.templates: self.spec.images}

    def _restored_asks(self, crowd: Crowd, concept: Concept, turn: int, turns: int) -> list[Ask]:
        own = [
            Ask(concept.name, "restored", split,
                turn_of(asking_for((concept,), split), -(-images // turns), self.spec.seed))
            for split, images in self._splits().items()
        ]  # fmt: skip
        others = crowd.without(concept).asked("erased", self.spec.templates)
        images = -(-self.spec.images // turns)
        cases = turn_of(others, images, self.spec.seed, turn)
        return [*own, Ask(f"all but {concept.name}", "erased", self.spec.templates, cases)]

    def _look(self, erasure: Erasure, asks: Sequence[Ask]) -> list[Look]:
        with erased(self.eraser.model, erasure.shifts) as seen:
            after = [self.gallery.shoot(ask.cases) for ask in asks]
            with seen.backend.pristine():
                before = [self.gallery.shoot(ask.cases) for ask in asks]
        return [Look(*each) for each in zip(asks, before, after, strict=True)]

    def _rates(
        self, ask: Ask, before: list[bool], after: list[bool], columns: Mapping[str, Any]
    ) -> Iterator[Row]:
        shared = {"concepts": ask.concepts, "split": ask.split, "role": ask.role, **columns}
        yield self.spec.rate("original_accuracy", before, **shared)
        yield self.spec.rate(METRICS[ask.role], after, **shared)
        if ask.role != "erased":
            drop, low, high = paired_drop(before, after)
            yield self.spec.row(f"{ask.role}_drop", drop, len(after), (low, high), **shared)


def pooled(looks: Sequence[Look]) -> list[Look]:
    """One look a role and split, of everything that was asked for in it.

    Args:
        looks: What was seen.
    """
    groups: dict[tuple[Role, str], list[Look]] = {}
    for look in looks:
        groups.setdefault((look.ask.role, look.ask.split), []).append(look)
    return [
        Look(
            Ask(role, role, split, tuple(case for look in own for case in look.ask.cases)),
            [shot for look in own for shot in look.before],
            [shot for look in own for shot in look.after],
        )
        for (role, split), own in groups.items()
    ]
