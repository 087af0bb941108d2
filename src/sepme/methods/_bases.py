"""Bases of the trained methods: hyper-parameters and the fit that several of them share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sepme.core.backend import CROSS_ATTN_KV, Backend
from sepme.core.concept import Concept
from sepme.core.listing import apart, listed
from sepme.core.method import Method, from_paper
from sepme.core.shift import ConceptShift
from sepme.methods._batches import Batches
from sepme.methods._changes import Change, Matrices
from sepme.methods._descent import Learner, descend
from sepme.methods._pools import FrozenPool, frozen_pool
from sepme.methods._training import OnStep, run, told


@dataclass(frozen=True, kw_only=True)
class Trained(Method):
    """Learns a shift from noised latents of images that the pristine model draws for a concept.

    The model is never changed, not even while fitting: trial weights exist only inside the
    forward pass.
    """

    predictions: ClassVar[int] = 1
    """Times a step evaluates the U-Net on each of its noised latents."""
    in_turns: ClassVar[bool] = False
    """Whether a step of a joint fit is about one of the concepts, so that each has its steps."""

    learning_rate: float = from_paper(0.1, above=0)
    max_steps: int = from_paper(1000, above=0)
    batch_size: int = from_paper(1, above=0)
    images: int = from_paper(16, above=0)
    pool: int = from_paper(64, above=0)
    bins: int = from_paper(50, above=0)
    target_modules: str = from_paper(CROSS_ATTN_KV)

    def fit(
        self,
        model: Backend,
        concept: Concept,
        *,
        retain: Sequence[Concept] = (),
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> ConceptShift:
        """Learn the shift that makes the model forget one concept.

        Args:
            model: The model.
            concept: What to erase; its prompts are what the method trains on.
            retain: What to leave alone, besides ``model.known``.
            seed: Seed of images, timesteps and noise.
            on_step: Called after every step.

        Returns:
            The shift; its ``provenance.fit`` tells at least the steps and the running loss.

        Raises:
            NullSpaceExhausted: If the listed prompts span the whole text space, and the method
                works in what they leave.
            NotSeparable: If the concept has no direction of its own there, or is to be left alone
                too.
            Diverged: If the loss is no longer finite.
        """
        return self._fit_together(model, (concept,), retain, seed, on_step)[0]

    def _fit_together(
        self,
        model: Backend,
        concepts: Sequence[Concept],
        retain: Sequence[Concept],
        seed: int,
        on_step: OnStep | None,
    ) -> tuple[ConceptShift, ...]:
        """Fit concepts in one optimisation, with every hyper-parameter chosen."""
        retained = zip(concepts, apart(model, concepts, retain), strict=True)
        others = {concept: listed(model, concept, alone) for concept, alone in retained}
        chosen = self.resolve(model.presets.get(self.name))
        return chosen._learn(model, others, seed, on_step) if others else ()

    @abstractmethod
    def _learn(
        self,
        model: Backend,
        others: Mapping[Concept, tuple[Concept, ...]],
        seed: int,
        on_step: OnStep | None,
    ) -> tuple[ConceptShift, ...]:
        """Train the shifts of some concepts, each with what it must leave alone."""

    def _parts(self, model: Backend, concept: Concept, seed: int) -> Batches[FrozenPool]:
        """Endless batches of noised latents with what the pristine model says of them."""
        options = {"images": self.images, "size": self.pool, "bins": self.bins, "seed": seed}
        return Batches(frozen_pool(model, concept, **options), self.batch_size, seed=seed)

    def _descend(
        self,
        learners: Mapping[str, Learner],
        model: Backend,
        others: Mapping[Concept, Sequence[Concept]],
        seed: int,
        on_step: OnStep | None,
    ) -> None:
        """Train learners, by name, for concepts, each with what it must leave alone."""
        label = f"erase {', '.join(concept.name for concept in others)}"
        most = self.max_steps * (len(others) if self.in_turns else 1)
        what = told(self, model, others, seed)
        steps = descend(tuple(learners.values()), steps=most)
        run(steps, label, most, on_step, parts=learners, what=what)


@dataclass(frozen=True, kw_only=True)
class Unconstrained(Trained):
    """Learns one shift of all concepts: nothing is spared by construction."""

    together: ClassVar[bool] = True
    in_turns: ClassVar[bool] = True

    def fit_here(
        self,
        model: Backend,
        concepts: Sequence[Concept],
        *,
        retain: Sequence[Concept] = (),
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> tuple[ConceptShift, ...]:
        """Learn one shift that makes the model forget several concepts.

        Two shifts of this kind, each fitted as if it were alone, would disturb each other.

        Args:
            model: The model.
            concepts: What to erase.
            retain: Only compared with the concepts: no prompt is left alone for certain.
            seed: Seed of images, timesteps and noise.
            on_step: Called after every step.

        Returns:
            One shift of all the concepts; none if there are no concepts.

        Raises:
            NotSeparable: If a concept is to be left alone too.
            MethodError: If a concept comes twice.
            Diverged: If the loss is no longer finite.
        """
        return self._fit_together(model, concepts, retain, seed, on_step)

    def _learn(
        self,
        model: Backend,
        others: Mapping[Concept, tuple[Concept, ...]],
        seed: int,
        on_step: OnStep | None,
    ) -> tuple[ConceptShift, ...]:
        concepts = tuple(others)
        change = self._change(model.sites(self._targets()), seed)
        learner = self._learner(model, change, others, seed)
        self._descend({"all": learner}, model, others, seed, on_step)
        return (
            ConceptShift(
                concepts=concepts,
                payload=change.payload(),
                decoupled_from=(),
                separable=self.separable,
                provenance=self.provenance(model, seed=seed, fit=learner.stop.facts()),
            ),
        )

    def _targets(self) -> str:
        """Which weights are learned, a regular expression for the module path."""
        return self.target_modules

    def _change(self, sites: Mapping[str, Tensor], seed: int) -> Change:
        """What is learned, as it is before the first step; every number of the weights."""
        return Matrices.zeros(sites)

    @abstractmethod
    def _learner(
        self, model: Backend, change: Change, others: Mapping[Concept, Sequence[Concept]], seed: int
    ) -> Learner:
        """What trains the change of some concepts, each given with what it must leave alone."""
