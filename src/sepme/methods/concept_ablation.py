"""Concept Ablation: the model is taught to draw an anchor where the concept is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import mse_loss

from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.core.method import from_paper
from sepme.methods._bases import Unconstrained
from sepme.methods._batches import Batches, Rows, Turns
from sepme.methods._changes import Change, Deltas
from sepme.methods._descent import Learner
from sepme.methods._pools import noised_images, pristine_noise
from sepme.methods._templates import wordings
from sepme.methods._training import MomentumStop


@dataclass(frozen=True, slots=True, eq=False)
class _Lesson(Rows):
    """Noised anchor images with what is asked for and what is to be answered."""

    latents: Tensor
    timesteps: Tensor
    embeds: Tensor
    goal: Tensor


@dataclass(frozen=True, kw_only=True)
class ConceptAblation(Unconstrained):
    """Make the model answer a prompt of the concept as it answers the same with the anchor.

    ``||eps(x_t, c) - eps0(x_t, c*)||^2``, averaged over elements, where ``x_t`` is a noised image
    that the pristine model drew for the anchor prompt ``c*`` and ``c`` is that prompt with the
    concept in the anchor's place. The prompts come from everyday sentences. No prompt is left
    alone for certain, and several concepts, which take turns, share one shift, which can be taken
    back as a whole only.

    Args:
        learning_rate: Of Adam (official code: 2e-6 for each of 8 latents a step).
        max_steps: Steps for each concept; there is no early stop (official code: 100).
        batch_size: Noised latents a step (official code: 8, on two devices).
        images: Images the pristine model draws for each concept's anchor (official code: 1000).
        pool: Noised latents made from them.
        bins: DDIM bins the timesteps are drawn from.
        target_modules: Sites to change, a regular expression for the module path.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = ConceptAblation(max_steps=200).resolve()
        >>> chosen.max_steps, chosen.batch_size, chosen.learning_rate
        (200, 8, 1.6e-05)
    """

    name: ClassVar[str] = "concept-ablation"
    paper: ClassVar[str] = "https://arxiv.org/abs/2303.13516"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "trained"
    separable: ClassVar[bool] = False
    restorable: ClassVar[str] = "everything, exactly; not one of several concepts"
    cost: ClassVar[str] = "a hundred steps, one U-Net forward and backward of 8 latents each"

    learning_rate: float = from_paper(1.6e-5, above=0)
    max_steps: int = from_paper(100, above=0)
    batch_size: int = from_paper(8, above=0)
    images: int = from_paper(64, above=0)
    pool: int = from_paper(256, above=0)

    def _learner(
        self, model: Backend, change: Change, others: Mapping[Concept, Sequence[Concept]], seed: int
    ) -> Learner:
        turns = Turns([self._lessons(model, concept, seed) for concept in others])

        def distance(deltas: Deltas) -> Tensor:
            part = next(next(turns))
            noise = model.predict_noise(part.latents, part.timesteps, part.embeds, deltas=deltas)
            return mse_loss(noise.float(), part.goal)

        stop = MomentumStop.never()
        return Learner.of(change, distance, stop, rate=self.learning_rate, sources=[turns])

    def _lessons(self, model: Backend, concept: Concept, seed: int) -> Batches[_Lesson]:
        """Endless batches for one concept."""
        said = wordings(concept)
        targets, anchors = ([getattr(one, of) for one in said] for of in ("target", "anchor"))
        options = {"images": self.images, "size": self.pool, "bins": self.bins, "seed": seed}
        drawn = noised_images(model, anchors, **options)
        asked, answered = (model.encode(prompts)[drawn.prompts] for prompts in (targets, anchors))
        goal = pristine_noise(model, drawn.latents, drawn.timesteps, answered)
        whole = _Lesson(drawn.latents, drawn.timesteps, asked, goal)
        return Batches(whole, self.batch_size, seed=seed)
