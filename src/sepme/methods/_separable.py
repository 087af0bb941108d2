"""The base of SepME's methods that learn inside a null space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from sepme.core.backend import Backend
from sepme.core.concept import BLANK, Concept
from sepme.core.method import from_paper
from sepme.core.record import Scalar
from sepme.core.shift import ConceptShift
from sepme.linalg.null_space import null_space, private_directions, separability
from sepme.methods._anchoring import anchoring
from sepme.methods._bases import Trained
from sepme.methods._batches import Batches
from sepme.methods._changes import Deltas, Factors, TextFactors
from sepme.methods._correlation import UNITS, correlation
from sepme.methods._descent import Learner
from sepme.methods._pools import FrozenPool
from sepme.methods._training import MomentumStop, OnStep


@dataclass(frozen=True, kw_only=True)
class Separable(Trained):
    """Decorrelates a concept's noise representation, inside the null space of everything else.

    The hyper-parameters are described at `sepme.methods.sepme.SepME`.
    """

    scale: float = from_paper(1e-4, above=0)
    momentum: float = from_paper(0.9, least=0, most=1)
    threshold: float = from_paper(1e-4)
    penalty: float = from_paper(1e-6, least=0)
    decorrelate: Literal["batch", "sample", "channel"] = from_paper("batch", one_of=UNITS)
    reversal: float = from_paper(0.0, least=0)
    basis: Literal["null-space", "private"] = from_paper(
        "null-space", one_of=("null-space", "private")
    )
    learns: Literal["site", "text"] = from_paper("site", one_of=("site", "text"))
    start: Literal["zero", "closed-form"] = from_paper("zero", one_of=("zero", "closed-form"))
    energy: float = from_paper(1.0, above=0, most=1)
    rtol: float = from_paper(1e-6, above=0, most=1)

    def _learn(
        self,
        model: Backend,
        others: Mapping[Concept, tuple[Concept, ...]],
        seed: int,
        on_step: OnStep | None,
    ) -> tuple[ConceptShift, ...]:
        rooms = {concept: self._room(model, concept, known) for concept, known in others.items()}
        learners = {
            concept: self._learner(
                model,
                self._change(model, concept, others[concept], directions),
                self._parts(model, concept, seed),
            )
            for concept, (directions, _) in rooms.items()
        }
        named = {concept.name: learner for concept, learner in learners.items()}
        self._descend(named, model, others, seed, on_step)
        return tuple(
            ConceptShift(
                concepts=(concept,),
                payload=learners[concept].change.payload(),
                decoupled_from=tuple(other.name for other in known),
                separable=self.separable,
                provenance=self.provenance(
                    model, seed=seed, fit=rooms[concept][1] | learners[concept].stop.facts()
                ),
            )
            for concept, known in others.items()
        )

    def _room(
        self, model: Backend, concept: Concept, others: Sequence[Concept]
    ) -> tuple[Tensor, dict[str, Scalar]]:
        """Directions the shift may use, ``(r, d_text)``, and what is to be told of them."""
        prompts = dict.fromkeys(prompt for other in others for prompt in other.prompts)
        space = null_space(model.encode(tuple(prompts)), rtol=self.rtol)
        rows = model.encode(concept.prompts)
        own = private_directions(rows, space, energy=self.energy)  # raises if there is none
        directions = own if self.basis == "private" else space.basis
        return directions, {
            "rank": space.rank,
            "leak": space.leak,
            "separability": separability(rows, model.encode(BLANK.prompts), space),
            "directions": len(directions),
        }

    def _change(
        self, model: Backend, concept: Concept, others: Sequence[Concept], directions: Tensor
    ) -> Factors | TextFactors:
        """What is learned, as it is before the first step."""
        kind = Factors if self.learns == "site" else TextFactors
        closed = self.start == "closed-form"
        start = anchoring(model, concept, others, directions) if closed else None
        return kind.of(model.sites(self.target_modules), directions, self.scale, start)

    def _learner(
        self, model: Backend, change: Factors | TextFactors, batches: Batches[FrozenPool]
    ) -> Learner:
        """What trains one shift; one U-Net forward and backward a step, none after the stop."""
        stop = MomentumStop(self.momentum, self.threshold)

        def left(deltas: Deltas) -> Tensor:
            part = next(batches)
            noise = model.predict_noise(part.latents, part.timesteps, part.embeds, deltas=deltas)
            now, how = noise.float() - part.blank, {"reversal": self.reversal}
            return correlation(now, part.representation, self.decorrelate, **how)

        return Learner.of(
            change, left, stop, rate=self.learning_rate, penalty=self.penalty, sources=[batches]
        )
