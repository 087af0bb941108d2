"""What is to be erased, and which of it needs a fit."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
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
        added: Names that nobody asked for by name: they are in force, and a refit covers them.

    Raises:
        SpecError: If the strength is out of range.
    """

    concepts: tuple[Concept, ...]
    retain: tuple[Concept, ...]
    method: Method
    seed: int
    strength: float = 1.0
    refit: bool = False
    added: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Check the strength now rather than after a fit."""
        if not 0 < self.strength <= _MAX_STRENGTH:
            raise SpecError(
                f"strength must be above 0 and at most {_MAX_STRENGTH:g}, got {self.strength:g}."
            )

    def others(self, concept: Concept) -> tuple[Concept, ...]:
        """What a fit of one concept must leave alone, besides what the model knows."""
        return tuple(c for c in (*self.retain, *self.concepts) if c.name != concept.name)

    def actions(self, model: ErasedPipeline, held: Held | None) -> dict[Concept, Action]:
        """Which concepts need a fit, and for which what the ledger holds will do.

        A list that is solved as one is fitted as a whole, if any of it is in a refit.
        """
        if held is None:
            return dict.fromkeys(self.concepts, "fit")
        reworded = self._reworded(held)
        found = {c: self._action(c, model, held, reworded) for c in self.concepts}
        if self.refit and self.method.together and "fit" in found.values():
            return dict.fromkeys(found, "fit")
        return found

    def turns(
        self, model: ErasedPipeline, held: Held
    ) -> Iterator[tuple[Action, tuple[Concept, ...]]]:
        """What is erased in one go: all that needs no fit, and then what one fit gives.

        What is worded anew comes last: until then the others are known not to have listed it.
        """
        found: dict[Action, list[Concept]] = {"keep": [], "reuse": [], "fit": []}
        for concept, action in self.actions(model, held).items():
            found[action].append(concept)
        reworded = self._reworded(held)
        fits = sorted(found.pop("fit"), key=lambda concept: concept.name in reworded)
        yield from ((action, tuple(concepts)) for action, concepts in found.items() if concepts)
        if self.method.together and fits:
            yield "fit", tuple(fits)
        else:
            yield from (("fit", (concept,)) for concept in fits)

    def _action(
        self, concept: Concept, model: ErasedPipeline, held: Held, reworded: Collection[str]
    ) -> Action:
        try:
            entry = held.entry(concept.name)
        except NotErased:
            return "fit"
        if not self._made(entry, held):
            return "fit"
        must = {c.name for c in (*model.known, *self.others(concept))} - entry.names
        unlisted = must - set(entry.decoupled_from) | must.intersection(reworded)
        if unlisted and (self.refit or not entry.active):
            return "fit"
        return "keep" if entry.active and entry.strength == self.strength else "reuse"

    def _reworded(self, held: Held) -> set[str]:
        """Names that the ledger knows by another definition."""
        known = {concept.name: concept for concept in held.directory.ledger.known}
        return {c.name for c in self.concepts if known.get(c.name, c) != c}

    def _made(self, entry: Entry, held: Held) -> bool:
        """Whether a shift is of this method and seed, for what is asked for now."""
        made = held.shift(entry).provenance
        same = set(entry.concepts) <= set(self.concepts)
        return same and (made.method, made.seed) == (self.method.name, self.seed)


def older(job: Job, ledger: Ledger) -> dict[tuple[str, tuple[str, ...]], list[str]]:
    """Names in force whose shifts were fitted without knowing some of those asked for now.

    Args:
        job: What is asked for.
        ledger: What is in force.

    Returns:
        Method and unknown names to the names they are unknown to.
    """
    asked = {concept.name for concept in job.concepts}
    new = asked - {concept.name for concept in ledger.known}
    gaps: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for entry in ledger.active:
        if not entry.separable or (job.refit and entry.names <= asked):
            continue
        if entry.decoupled_from:
            missing = asked - entry.names - set(entry.decoupled_from)
        else:  # nothing is claimed; a map that is solved as one tells others apart all the same
            missing = new if job.method.together and entry.method == job.method.name else set()
        if missing:
            gaps.setdefault((entry.method, tuple(sorted(missing))), []).append(entry.name)
    return gaps
