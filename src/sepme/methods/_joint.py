"""Base of the methods that solve for several concepts at once and need no training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.core.listing import apart, listed
from sepme.core.method import Method
from sepme.core.shift import ConceptShift


@dataclass(frozen=True, kw_only=True)
class Joint(Method):
    """Gives one shift for all concepts, the same whatever order they come in."""

    separable: ClassVar[bool] = False
    together: ClassVar[bool] = True

    def fit(
        self, model: Backend, concept: Concept, *, retain: Sequence[Concept] = (), seed: int = 0
    ) -> ConceptShift:
        """Find the shift that makes the model forget one concept.

        Args:
            model: The model.
            concept: What to erase.
            retain: What to leave alone as far as possible, besides ``model.known``.
            seed: Only recorded: nothing is random.

        Returns:
            The shift.

        Raises:
            NotSeparable: If the concept is to be left alone too.
            MethodError: If the concept cannot be erased this way.
        """
        chosen = self.resolve(model.presets.get(self.name))
        return chosen._together(model, (concept,), listed(model, concept, retain), seed)

    def fit_many(
        self,
        model: Backend,
        concepts: Sequence[Concept],
        *,
        retain: Sequence[Concept] = (),
        seed: int = 0,
    ) -> tuple[ConceptShift, ...]:
        """Find one shift for all concepts; they can be restored together only.

        Args:
            model: The model.
            concepts: What to erase.
            retain: What to leave alone as far as possible, besides ``model.known``.
            seed: Only recorded: nothing is random.

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
        ordered = tuple(sorted(concepts, key=lambda concept: concept.name))
        chosen = self.resolve(model.presets.get(self.name))
        return (chosen._together(model, ordered, left, seed),)

    @abstractmethod
    def _together(
        self, model: Backend, concepts: Sequence[Concept], others: Sequence[Concept], seed: int
    ) -> ConceptShift:
        """The shift of some concepts in name order, with every hyper-parameter chosen."""
