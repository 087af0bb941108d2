"""Which concepts are erased at each size, and what is asked of the model then."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sepme import demo
from sepme.bench.benchmark import in_batches
from sepme.bench.wordings import Triples
from sepme.core.concept import Concept
from sepme.demo.templates import Split
from sepme.verify.cases import Case, labelled, numbered
from sepme.verify.rows import OTHER_HEAD

SPARED: Mapping[str, int] = {"style": 4, "object": 6}
"""How many of each kind are erased at no size, so that there is something left to look at."""
_ORDER_SEED = 2402

Role = Literal["erased", "retained", "restored"]


def order() -> tuple[Concept, ...]:
    """Everything that can be erased, in an order whose every prefix is one of the sizes.

    Styles and objects come in the proportion in which the demo model knows them, a style first,
    until the styles that may go are gone.

    Returns:
        Styles and objects of the demo without those that are spared.

    Example:
        >>> [concept.kind for concept in order()].count("style"), len(order())
        (5, 40)
    """
    shuffled = random.Random(_ORDER_SEED)  # noqa: S311 (an order, not a secret)
    pools = {kind: [c for c in taught_ones() if c.kind == kind] for kind in SPARED}
    share = len(pools["style"]) / sum(map(len, pools.values()))
    for kind, pool in pools.items():
        shuffled.shuffle(pool)
        del pool[len(pool) - SPARED[kind] :]
    found: list[Concept] = []
    for place in range(sum(map(len, pools.values()))):
        styles = sum(concept.kind == "style" for concept in found)
        kind = "style" if styles < share * (place + 1) and pools["style"] else "object"
        found.append(pools[kind].pop(0))
    return tuple(found)


def taught_ones() -> tuple[Concept, ...]:
    """Every style and object of the demo model."""
    return tuple(concept for concept in demo.concepts() if concept.kind in OTHER_HEAD)


@dataclass(frozen=True, slots=True)
class Crowd:
    """What is erased, and what stays.

    Attributes:
        erased: What is erased.
        rest: All other styles and objects.
    """

    erased: tuple[Concept, ...]
    rest: tuple[Concept, ...] = field(repr=False)

    @classmethod
    def of(cls, erased: Sequence[Concept]) -> Crowd:
        """A crowd by what is erased.

        Args:
            erased: Some styles and objects of the demo.
        """
        gone = {concept.name for concept in erased}
        return cls(tuple(erased), tuple(c for c in taught_ones() if c.name not in gone))

    def without(self, concept: Concept) -> Crowd:
        """The crowd once a concept is given back.

        Args:
            concept: One of the erased.
        """
        return Crowd.of([other for other in self.erased if other != concept])

    def asked(self, role: Role, split: str) -> Triples:
        """Prompts of a role, each with the labels that count for it.

        Prompts for what is erased have the label of the concept in turn only, whatever else they
        name; prompts for the rest name nothing that is erased.

        Args:
            role: ``"erased"`` or ``"retained"``.
            split: ``"literal"``, ``"train"`` or ``"heldout"``.
        """
        if role == "retained" and split != "literal":
            return self._free_of_erased("train" if split == "train" else "heldout")
        return asking_for(self.erased if role == "erased" else self.rest, split)

    def _free_of_erased(self, split: Split) -> Triples:
        gone = {concept.name for concept in self.erased}
        return [
            (prompt, None if style == demo.PLAIN else style, thing)
            for prompt, style, thing in demo.labelled_prompts(split)
            if not gone & {style, thing}
        ]


def asking_for(concepts: Sequence[Concept], split: str) -> Triples:
    """Prompts for some concepts in turns, each with the label of its own concept alone.

    Args:
        concepts: Styles and objects of the demo, at least one.
        split: ``"literal"``, ``"train"`` or ``"heldout"``.

    Example:
        >>> prompt, style, thing = asking_for(order()[:1], "heldout")[1]
        >>> style == order()[0].name, thing
        (True, None)
    """
    lists = [list(_own_label(concept, split)) for concept in concepts]
    return [triple for turn in zip(*lists, strict=False) for triple in turn]


def _own_label(concept: Concept, split: str) -> Iterator[tuple[str, str | None, str | None]]:
    for prompt, style, thing in labelled(concept, split, concept.kind):
        own = (style, None) if concept.kind == "style" else (None, thing)
        yield prompt, *own


def turn_of(triples: Triples, images: int, seed: int, turn: int = 0) -> tuple[Case, ...]:
    """Whole batches of cases that no other turn has.

    Args:
        triples: Prompts with their labels.
        images: Fewest cases.
        seed: Seed of the run.
        turn: Which part, from 0.
    """
    count = in_batches(images)
    return numbered(triples, (turn + 1) * count, seed)[turn * count :]
