"""What erasing would take, and whether it can work, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sepme.core.concept import BLANK, Concept
from sepme.core.method import Method
from sepme.errors import ConceptError, NotSeparable, NullSpaceExhausted
from sepme.linalg.leave_one_out import rank, rooms
from sepme.methods import METHODS
from sepme.plan.cost import fit_cost
from sepme.plan.listed import Listed, PlanRow

if TYPE_CHECKING:
    from sepme.pipeline import ErasedPipeline

MIN_SEPARABILITY = 0.05
"""Lowest separability at which a concept can be erased on its own (fraction, 0 to 1).

Measured on the demo model (docs/experiments/separability.md): fits reach their stop from 0.059 on
and none does up to 0.039. Another model may draw the line elsewhere.
"""

_RTOL = 1e-6
_COUNTED = 32  # concepts whose dimensions are counted, to tell how many more fit


@dataclass(frozen=True, slots=True)
class Plan:
    """What erasing some concepts would take.

    Attributes:
        rows: One per concept, in the order given.
        method: Registry name of the method.
        dimensions: Width of the text space.
        rows_per_concept: Dimensions a concept of this size uses up, on average over the first 32.
        free: Dimensions left once all of them are erased.
        threshold: Separability below which a concept is refused, or the rest is left alone in the
            mean square only; 0 for a method that does not work in the null space.
    """

    rows: tuple[PlanRow, ...]
    method: str
    dimensions: int
    rows_per_concept: float
    free: int
    threshold: float

    @property
    def ok(self) -> bool:
        """Whether every concept can be erased on its own."""
        return all(row.ok for row in self.rows)

    @property
    def capacity_left(self) -> int:
        """How many more concepts of the same size fit into the text space."""
        return int(self.free / self.rows_per_concept) if self.rows_per_concept else 0

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            NullSpaceExhausted: If the listed prompts leave no direction free.
            NotSeparable: If a concept cannot be told from listed ones; names those.
        """
        for row in self.rows:
            if row.exhausted:
                raise NullSpaceExhausted(
                    f"{row.listed} listed concepts use {row.rank} of {self.dimensions} dimensions "
                    f"of the text space and leave nothing for {row.concept!r}; it overlaps most "
                    f"with {', '.join(row.colliding)}. Retain fewer concepts or fewer prompts."
                )
            if row.same_as:
                raise NotSeparable(
                    f"{row.concept!r} has a prompt that is also one of {row.same_as!r}, which must "
                    f"stay as it is. Erase {row.same_as!r} itself, or stop retaining it."
                )
            if not row.ok:
                raise NotSeparable(
                    f"{row.concept!r} has separability {row.separability:.3f}, at least "
                    f"{self.threshold:g} is needed; it collides with {', '.join(row.colliding)}. "
                    "Retain fewer of them, or name it by prompts of its own."
                )

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON types."""
        return {
            "ok": self.ok,
            "method": self.method,
            "dimensions": self.dimensions,
            "rows_per_concept": self.rows_per_concept,
            "free": self.free,
            "capacity_left": self.capacity_left,
            "threshold": self.threshold,
            "rows": [asdict(row) for row in self.rows],
        }


def plan(
    model: ErasedPipeline,
    concepts: Sequence[Concept],
    *,
    retain: Sequence[Concept] = (),
    method: str | Method = "sepme",
) -> Plan:
    """Tell what erasing concepts would take, and whether it can work.

    Costs a few singular value decompositions, of prompts that are read until they leave no room,
    and two U-Net forwards if the method trains in steps; nothing is drawn, and the model is not
    changed.

    Args:
        model: The model.
        concepts: What would be erased, each with the others left alone.
        retain: What else to leave alone, besides ``model.known``.
        method: Registry name of the method, or the method itself.

    Returns:
        The plan; ``.check()`` raises if it cannot work.

    Raises:
        ConceptError: If no concept is given, or two of the same name.

    Example:
        >>> import sepme
        >>> made = plan(sepme.load("demo"), sepme.demo.concepts()[:2])
        >>> [row.listed for row in made.rows], made.ok
        ([4, 4], True)
    """
    names = [concept.name for concept in concepts]
    if not names or len(set(names)) < len(names):
        raise ConceptError(f"a plan needs concepts of distinct names, got {names}.")
    maker = METHODS[method]() if isinstance(method, str) else method
    maker = maker.resolve(model.presets.get(maker.name))
    rtol = float(getattr(maker, "rtol", _RTOL))
    everything = tuple(dict.fromkeys((BLANK, *model.known, *retain, *concepts)))  # as `listed`
    listed = Listed(everything, cache(lambda concept: model.encode(concept.prompts)))
    cost, gated = fit_cost(model, maker), bool(getattr(maker, "gate", False))
    least = float(getattr(maker, "least", MIN_SEPARABILITY)) if maker.separable else None
    strict = maker.separable and not maker.approximates
    staying = [(concept,) for concept in everything if concept.name not in names]
    meanings = [tuple(c for c in everything if c.name == name) for name in names]
    spaces = rooms(staying, meanings, listed.rows, rtol=rtol)
    made = tuple(
        listed.row(concept, space, rtol=rtol, cost=cost, least=least, strict=strict, gated=gated)
        for concept, space in zip(concepts, spaces, strict=True)
    )
    together = rank(map(listed.rows, [*staying, *meanings]), rtol=rtol)
    blank = rank([listed.rows([BLANK])], rtol=rtol)
    counted = concepts[:_COUNTED]
    used = [rank([listed.rows([BLANK, concept])], rtol=rtol) - blank for concept in counted]
    width = listed.rows([BLANK]).shape[-1]
    mean = sum(used) / len(used)
    return Plan(made, maker.name, width, mean, width - together, least or 0.0)
