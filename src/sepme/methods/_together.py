"""Base of the methods whose fit for several concepts at once is one solution."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.core.listing import apart, listed
from sepme.core.method import Method
from sepme.core.payload import Payload
from sepme.core.record import Scalar
from sepme.core.shift import ConceptShift


class Solution(NamedTuple):
    """What a solve gives.

    Attributes:
        payload: The change.
        facts: What is to be told of it.
        decoupled_from: Names of the concepts whose listed prompts it provably leaves alone.
    """

    payload: Payload
    facts: Mapping[str, Scalar]
    decoupled_from: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Together(Method):
    """Solves for several concepts at once: two solutions are not the sum of one for both."""

    together: ClassVar[bool] = True

    def fit(
        self, model: Backend, concept: Concept, *, retain: Sequence[Concept] = (), seed: int = 0
    ) -> ConceptShift:
        """Solve for the shift that makes the model forget one concept.

        Args:
            model: The model.
            concept: What to erase.
            retain: What to leave alone as far as possible, besides ``model.known``.
            seed: Seed of everything random, if anything is.

        Returns:
            The shift; its ``provenance.fit`` tells what the method's page lists.

        Raises:
            NotSeparable: If the concept is to be left alone too.
            MethodError: If the concept cannot be erased this way.
        """
        return self._shift(model, (concept,), listed(model, concept, retain), seed)

    def fit_here(
        self,
        model: Backend,
        concepts: Sequence[Concept],
        *,
        retain: Sequence[Concept] = (),
        seed: int = 0,
    ) -> tuple[ConceptShift, ...]:
        """Solve for all concepts at once; they can be restored together only.

        Args:
            model: The model.
            concepts: What to erase.
            retain: What to leave alone as far as possible, besides ``model.known``.
            seed: Seed of everything random, if anything is.

        Returns:
            One shift that names all concepts; none for no concepts.

        Raises:
            MethodError: If two concepts have one name, or one cannot be erased this way.
        """
        if not concepts:
            return ()
        everything = zip(concepts, apart(model, concepts, retain), strict=True)
        others = dict.fromkeys(o for c, alone in everything for o in listed(model, c, alone))
        names = {concept.name for concept in concepts}
        left = tuple(other for other in others if other.name not in names)
        return (self._shift(model, concepts, left, seed),)

    def _shift(
        self, model: Backend, concepts: Sequence[Concept], others: Sequence[Concept], seed: int
    ) -> ConceptShift:
        """The shift of several concepts; the same whatever order they come in."""
        chosen = self.resolve(model.presets.get(self.name))
        ordered = tuple(sorted(concepts, key=lambda concept: concept.name))
        found = chosen._solve(model, ordered, tuple(others), seed)
        return ConceptShift(
            concepts=ordered,
            payload=found.payload,
            decoupled_from=found.decoupled_from,
            separable=self.separable,
            provenance=chosen.provenance(model, seed=seed, fit=found.facts),
        )

    @abstractmethod
    def _solve(
        self, model: Backend, concepts: tuple[Concept, ...], others: tuple[Concept, ...], seed: int
    ) -> Solution:
        """The change, with every hyper-parameter chosen, for concepts in name order."""
