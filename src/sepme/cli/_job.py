"""What is to be erased, and which of it needs a fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from sepme.cli._ledger import Held
from sepme.core.concept import Concept
from sepme.errors import NotErased, SpecError

if TYPE_CHECKING:
    from sepme.core.entry import Entry
    from sepme.core.ledger import Ledger
    from sepme.core.method import Method
    from sepme.pipeline import ErasedPipeline

Action = Literal["fit", "reuse", "keep"]
_MAX_STRENGTH = 2.0


@dataclass(frozen=True)
class Job:
    """What is to be erased, and how.

    Attributes:
        concepts: In the order given.
        retain: What else to leave alone.
        method: Resolved when it fits.
        seed: Of every fit.
        strength: Of every shift: above 0, at most 2.
        refit: Whether what is in force is fitted again if it was not fitted to leave all others
            alone.

    Raises:
        SpecError: If the strength is out of range.
    """

    concepts: tuple[Concept, ...]
    retain: tuple[Concept, ...]
    method: Method
    seed: int
    strength: float = 1.0
    refit: bool = False

    def __post_init__(self) -> None:
        """Check the strength now rather than after a fit."""
        if not 0 < self.strength <= _MAX_STRENGTH:
            raise SpecError(
                f"strength must be above 0 and at most {_MAX_STRENGTH:g}, got {self.strength:g}."
            )

    def with_held(self, ledger: Ledger) -> Job:
        """The job that also covers what is in force by its method, so that all is fitted together.

        Args:
            ledger: What is in force.

        Raises:
            SpecError: If something in force has another strength than the job.
        """
        asked = {concept.name for concept in self.concepts}
        others = [e for e in ledger.active if e.method == self.method.name and not e.names <= asked]
        for entry in others:
            if entry.strength != self.strength:
                raise SpecError(
                    f"{entry.name!r} is erased with strength {entry.strength:g}, and a refit gives "
                    f"all of them {self.strength:g}. Say --strength {entry.strength:g}, or name "
                    f"{entry.name!r} in the same command."
                )
        more = [c for entry in others for c in entry.concepts if c.name not in asked]
        return replace(self, concepts=(*self.concepts, *more))

    def others(self, concept: Concept) -> tuple[Concept, ...]:
        """What a fit of one concept must leave alone, besides what the model knows."""
        return tuple(c for c in (*self.retain, *self.concepts) if c.name != concept.name)

    def action(self, concept: Concept, model: ErasedPipeline, held: Held | None) -> Action:
        """Whether a concept needs a fit, or what the ledger holds will do."""
        if held is None:
            return "fit"
        try:
            entry = held.entry(concept.name)
        except NotErased:
            return "fit"
        if not self._made(entry, held):
            return "fit"
        must = {c.name for c in (*model.known, *self.others(concept))} - {concept.name}
        if not must <= set(entry.decoupled_from) and (self.refit or not entry.active):
            return "fit"
        return "keep" if entry.active and entry.strength == self.strength else "reuse"

    def _made(self, entry: Entry, held: Held) -> bool:
        """Whether a shift is of this method and seed, for prompts asked for now."""
        made = held.shift(entry).provenance
        asked = {(c.name, c.prompts, c.anchor) for c in self.concepts}
        same = {(c.name, c.prompts, c.anchor) for c in entry.concepts} <= asked
        return same and (made.method, made.seed) == (self.method.name, self.seed)

    def turns(self, model: ErasedPipeline, held: Held) -> Iterator[tuple[Concept, ...]]:
        """What is erased in one go: all that needs no fit, and then what one fit gives."""
        found: dict[Action, list[Concept]] = {"keep": [], "reuse": [], "fit": []}
        for concept in self.concepts:
            found[self.action(concept, model, held)].append(concept)
        fits = found.pop("fit")
        yield from (tuple(concepts) for concepts in found.values() if concepts)
        if self.method.together and fits:
            yield tuple(fits)
        else:
            yield from ((concept,) for concept in fits)


def older(job: Job, ledger: Ledger) -> dict[str, list[str]]:
    """Erased concepts whose shifts were fitted without knowing some of those asked for now."""
    asked = {concept.name for concept in job.concepts}
    gaps = {
        entry.name: sorted(asked - entry.names - set(entry.decoupled_from))
        for entry in ledger.active
        if entry.separable and entry.decoupled_from and not (job.refit and entry.names <= asked)
    }
    return {name: missing for name, missing in gaps.items() if missing}
