"""What erasing would take, and whether it can work, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sepme.core.concept import BLANK, Concept
from sepme.core.method import Method
from sepme.errors import ConceptError, NotSeparable, NullSpaceExhausted
from sepme.linalg.leave_one_out import leave_one_out
from sepme.linalg.null_space import NullSpace, null_space, separability
from sepme.methods import METHODS
from sepme.plan.cost import fit_cost

if TYPE_CHECKING:
    from sepme.pipeline import ErasedPipeline

MIN_SEPARABILITY = 0.05
"""Lowest separability at which a concept can be erased on its own (fraction, 0 to 1).

Measured on the demo model (docs/experiments/separability.md): fits reach their stop from 0.059 on
and none does up to 0.039. Another model may draw the line elsewhere.
"""

_MAX_COLLIDING = 3
_RTOL = 1e-6
_NOTHING = 1e-4
"""Separability that is nothing but rounding."""

Rows = Mapping[Concept, Tensor]


@dataclass(frozen=True, slots=True)
class PlanRow:
    """What erasing one concept would take.

    Attributes:
        concept: Name of the concept.
        separability: Share of what sets it apart that listed prompts leave free (0 to 1).
        rank: Dimensions of text space that the listed prompts use.
        free: Dimensions they leave.
        listed: Number of concepts that must be left alone.
        colliding: Listed concepts that overlap with it most; empty unless it is refused.
        same_as: Listed concept that has one of its prompts; "" if none has.
        exhausted: Whether the listed concepts together, none of them alone, leave nothing of it.
        seconds: Longest the fit can take on this machine; the stop usually comes far earlier. None
            for a method that does not train in steps, whose fit is not estimated.
        memory_mb: Memory the fit needs, the model included (megabytes, 10^6 bytes).
        exact: Whether listed prompts can stay exactly as they are.
        ok: Whether it can be erased on its own.
    """

    concept: str
    separability: float
    rank: int
    free: int
    listed: int
    colliding: tuple[str, ...]
    same_as: str
    exhausted: bool
    seconds: float | None
    memory_mb: float
    exact: bool
    ok: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What erasing some concepts would take.

    Attributes:
        rows: One per concept, in the order given.
        method: Registry name of the method.
        dimensions: Width of the text space.
        rows_per_concept: Dimensions a concept of this size uses up, on average.
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

    Costs a few singular value decompositions, and two U-Net forwards if the method trains in steps;
    nothing is drawn, and the model is not changed.

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
    everything = dict.fromkeys((BLANK, *model.known, *retain, *concepts))  # as `listed` has it
    rows = {concept: model.encode(concept.prompts) for concept in everything}
    cost = fit_cost(model, maker)
    least = float(getattr(maker, "least", MIN_SEPARABILITY)) if maker.separable else None
    strict = maker.separable and not maker.approximates
    always = torch.cat([found for concept, found in rows.items() if concept.name not in names])
    sets = [[found for c, found in rows.items() if c.name == name] for name in names]
    spaces = leave_one_out(_flat(always), [_flat(torch.cat(own)) for own in sets], rtol=rtol)
    made = tuple(
        _row(concept, rows, space, rtol=rtol, cost=cost, least=least, strict=strict)
        for concept, space in zip(concepts, spaces, strict=True)
    )
    together = _rank([always, *(rows[concept] for concept in concepts)], rtol)
    blank = _rank([rows[BLANK]], rtol)
    used = [_rank([rows[BLANK], rows[concept]], rtol) - blank for concept in concepts]
    width = rows[BLANK].shape[-1]
    mean = sum(used) / len(used)
    return Plan(made, maker.name, width, mean, width - together, least or 0.0)


def _row(
    concept: Concept,
    rows: Rows,
    space: NullSpace | None,
    *,
    rtol: float,
    cost: tuple[float | None, float],
    least: float | None,
    strict: bool,
) -> PlanRow:
    own = rows[concept]
    others = {other: found for other, found in rows.items() if other.name != concept.name}
    same = next((o.name for o, found in others.items() if _shares_prompt(own, found)), "")
    apart = separability(own, rows[BLANK], space) if space else 0.0
    exact = space is not None and least is not None and apart >= least
    ok = not same and (exact or not strict)
    alone = {} if ok else _left_beside_each(own, others, rows[BLANK], rtol)
    crowd = not alone or min(alone.values()) >= (least or 0.0)
    width = own.shape[-1]
    return PlanRow(
        concept=concept.name,
        separability=apart,
        rank=space.rank if space else width,
        free=width - space.rank if space else 0,
        listed=len(others),
        colliding=tuple(sorted(alone, key=lambda other: (alone[other], other))[:_MAX_COLLIDING]),
        same_as=same,
        exhausted=not ok and crowd and apart < _NOTHING,
        seconds=cost[0],
        memory_mb=cost[1],
        exact=exact,
        ok=ok,
    )


def _left_beside_each(own: Tensor, others: Rows, blank: Tensor, rtol: float) -> dict[str, float]:
    """Separability of a concept from each listed concept alone, by name."""
    left: dict[str, float] = {}
    for other, found in others.items():
        if other != BLANK:
            space = _space([blank, found], rtol)
            apart = separability(own, blank, space) if space else 0.0
            left[other.name] = min(apart, left.get(other.name, apart))
    return left


def _flat(rows: Tensor) -> Tensor:
    return rows.flatten(0, 1)


def _shares_prompt(mine: Tensor, others: Tensor) -> bool:
    return any(torch.equal(a, b) for a in mine for b in others)


def _space(rows: Sequence[Tensor], rtol: float) -> NullSpace | None:
    try:
        return null_space(torch.cat(list(rows)), rtol=rtol)
    except NullSpaceExhausted:
        return None


def _rank(rows: Sequence[Tensor], rtol: float) -> int:
    space = _space(rows, rtol)
    return space.rank if space else rows[0].shape[-1]
