"""SepME with all concepts in one optimisation (the paper's simultaneous variant, SRS-ME dagger)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.core.shift import ConceptShift
from sepme.methods._separable import Separable
from sepme.methods._training import OnStep


@dataclass(frozen=True, kw_only=True)
class SepMEJoint(Separable):
    """Erase several concepts at once, each inside the null space of all others.

    The ``A_k`` of all concepts minimise ``sum_i eta_i L_cor(c_i) + lambda ||dtheta||_1`` together,
    ``dtheta`` being the sum of their shifts (SRS-ME, eq. 34-36). ``eta_i = |max_k L_cor(c_k)| /
    |L_cor(c_i)|`` makes them count alike; it is a number, without a gradient, from 1/10 to 10. A
    concept whose own running loss is down to ``tau`` (eq. 37) keeps the shift it has then, while
    the others go on.

    The shifts do not meet on listed prompts, so all that ties the concepts together is ``eta`` and
    the penalty: the shift of a single concept is that of `sepme.methods.sepme.SepME`. The
    hyper-parameters are the same and have the same defaults.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = SepMEJoint().resolve({"scale": 0.01})
        >>> chosen.basis, chosen.scale, chosen.learning_rate
        ('null-space', 0.01, 0.1)
    """

    name: ClassVar[str] = "sepme-joint"
    paper: ClassVar[str] = "https://arxiv.org/abs/2402.05947"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "trained"
    separable: ClassVar[bool] = True
    together: ClassVar[bool] = True
    restorable: ClassVar[str] = "any one concept, exactly on the prompts the others list"
    cost: ClassVar[str] = "tens of steps, one U-Net forward and backward a concept each"

    def fit_here(
        self,
        model: Backend,
        concepts: Sequence[Concept],
        *,
        retain: Sequence[Concept] = (),
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> tuple[ConceptShift, ...]:
        """Learn the shifts of several concepts in one optimisation.

        Args:
            model: The model.
            concepts: What to erase; each shift leaves the other concepts alone.
            retain: What else to leave alone, besides ``model.known``.
            seed: Seed of every concept's images, timesteps and noise.
            on_step: Called after every step, with the balanced sum of the losses.

        Returns:
            One shift per concept, in the order given.

        Raises:
            NullSpaceExhausted: If the listed prompts span the whole text space.
            NotSeparable: If a concept has no direction of its own, or is to be left alone too.
            MethodError: If a concept comes twice.
            Diverged: If a loss is no longer finite.
        """
        return self._fit_together(model, concepts, retain, seed, on_step)
