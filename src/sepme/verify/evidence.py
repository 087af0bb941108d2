"""What a verification found: figures, checks, pictures and the circumstances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from sepme.core.concept import Concept

if TYPE_CHECKING:
    from PIL.Image import Image

Row: TypeAlias = Mapping[str, Any]
"""One figure: benchmark, method, concepts, split, metric, value, n, lo, hi, seeds."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a verification must reach.

    Attributes:
        erased_literal: Highest rate at which an erased concept may still be seen on its own
            prompts (fraction).
        erased_heldout: The same on templates never used in training (fraction).
        retained_drop: Most that the accuracy on what was kept, or given back, may fall (fraction);
            it fails only where the whole interval lies above.
        restore_error: Largest pixel difference allowed where a restored prompt must give the
            original image (0-255).
        original_at_least: Lowest rate at which the detector must see a concept in the *original*
            model's images; below, it could not have judged that the concept is gone (fraction).
    """

    erased_literal: float = 0.05
    erased_heldout: float = 0.10
    retained_drop: float = 0.03
    restore_error: int = 1
    original_at_least: float = 0.80


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What should hold, in a few words.
        passed: Whether it does; None if it was measured without a verdict.
        detail: What was found, in a sentence.
    """

    name: str
    passed: bool | None
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class Triplet:
    """Images of one prompt and seed: original, concept erased, concept restored.

    Attributes:
        concept: Name of the concept.
        prompt: The prompt.
        seed: The seed of all three.
        images: The three images, in that order.
        labels: What the detector says of each; None without a detector.
    """

    concept: str
    prompt: str
    seed: int
    images: tuple[Image, Image, Image]
    labels: tuple[str | None, str | None, str | None]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything a verification found.

    Attributes:
        erased: Concepts that are erased.
        restored: Concepts that were erased once and are given back.
        rows: Tidy rows, one figure each.
        checks: Exactness: what must hold to the last bit, or to one step of 255.
        judgements: Figures held against the thresholds.
        thresholds: The thresholds.
        judged: Names of erased concepts that a detector could look for.
        grids: Same-seed images.
        environment: Versions, seeds, counts, detector, base fingerprint, threads and date.
    """

    erased: tuple[Concept, ...]
    restored: tuple[Concept, ...]
    rows: tuple[Row, ...]
    checks: tuple[Check, ...]
    judgements: tuple[Check, ...]
    thresholds: Thresholds
    judged: tuple[str, ...]
    grids: tuple[Triplet, ...] = field(repr=False)
    environment: Mapping[str, Any] = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether nothing that was judged failed; see also `erasure_verified`."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """Checks and judgements that failed."""
        return tuple(c for c in (*self.checks, *self.judgements) if c.passed is False)

    @property
    def undecided(self) -> tuple[Check, ...]:
        """Checks and judgements without a verdict."""
        return tuple(c for c in (*self.checks, *self.judgements) if c.passed is None)

    @property
    def erasure_verified(self) -> bool:
        """Whether every erased concept was looked for by a detector and nothing failed."""
        return self.passed and set(self.judged) == {concept.name for concept in self.erased}

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        if self.failures:
            names = "; ".join(check.name for check in self.failures)
            return f"Not passed: {len(self.failures)} of {self._looked_at} checks failed ({names})."
        if unseen := [c.prompts[0] for c in self.erased if c.name not in self.judged]:
            return (
                f"Exactness passed, erasure not verified: no detector can tell whether an image "
                f"shows {_and(unseen)}. Look at the pictures."
            )
        what = [f"{_and([c.prompts[0] for c in self.erased])} erased"] if self.erased else []
        if self.restored:
            what.append(f"{_and([c.prompts[0] for c in self.restored])} restored")
        open_ones = f" {len(self.undecided)} measured without a verdict." if self.undecided else ""
        return f"Passed: {', '.join(what)}; {self._looked_at} checks, none failed.{open_ones}"

    @property
    def _looked_at(self) -> int:
        return len(self.checks) + len(self.judgements)

    def row(self, metric: str, concepts: str, split: str) -> Row | None:
        """The row of one figure.

        Args:
            metric: Its metric.
            concepts: Its concepts.
            split: Its split.

        Returns:
            The row, or None if it was not measured.
        """
        wanted = (metric, concepts, split)
        found = [r for r in self.rows if (r["metric"], r["concepts"], r["split"]) == wanted]
        return found[0] if found else None

    def to_dict(self) -> dict[str, Any]:
        """Everything but the images, as JSON types; an infinite figure is ``"Infinity"``."""
        return {
            "passed": self.passed,
            "erasure_verified": self.erasure_verified,
            "verdict": self.verdict,
            "erased": [concept.name for concept in self.erased],
            "restored": [concept.name for concept in self.restored],
            "rows": [{key: _json(value) for key, value in row.items()} for row in self.rows],
            "checks": [asdict(check) for check in self.checks],
            "judgements": [asdict(check) for check in self.judgements],
            "thresholds": asdict(self.thresholds),
            "environment": dict(self.environment),
        }


def _json(value: Any) -> Any:  # noqa: ANN401 (any JSON type)
    return "Infinity" if isinstance(value, float) and math.isinf(value) else value


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
