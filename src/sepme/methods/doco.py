"""DoCo: concept domain correction, an adversarial fit that keeps what it must not harm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.core.method import from_paper
from sepme.core.state import State, gathered, spread
from sepme.errors import MethodError
from sepme.linalg.conflict import without_conflict
from sepme.methods._bases import Unconstrained
from sepme.methods._batches import Batches, Turns
from sepme.methods._changes import Change, Deltas
from sepme.methods._descent import Learner, Rule, steepest
from sepme.methods._discriminator import Discriminator
from sepme.methods._pools import Noised, noised_images, pristine_noise
from sepme.methods._training import MomentumStop, Step, run, told

_FAINTEST = 1e-3
"""Share of the signal below which a clean estimate is not amplified any further."""


@dataclass(frozen=True, kw_only=True)
class DoCo(Unconstrained):
    """Make what the model draws for a concept pass as what it draws for the anchor.

    A discriminator ``D`` learns to tell clean estimates ``x0`` of the changed model for the
    concept from those of the original for the anchor, on the same noised images of the anchor. The
    shift lowers ``-log(1 - D(x0))``, so that ``D`` takes the concept for the anchor. Of that
    gradient, each weight drops what works against the prediction loss on images of the anchor and
    of all that is retained. That holds to first order only; no prompt is left alone for certain,
    and several concepts, which take turns, share one shift, which can be taken back as a whole
    only.

    Args:
        projection: lambda, share of a conflict that is dropped (paper: 1); 0 for no preservation.
        warm_up: Steps of the discriminator alone, before the shift is trained (paper: 1000).
        discriminator_rate: Learning rate of the discriminator (paper: 5e-4 for styles, 1e-4 else).
        learning_rate: Of Adam (paper: 6e-6 for each of 8 latents in a batch).
        max_steps: Steps of the shift for each concept; there is no early stop (paper: 2000 less the
            warm-up).
        batch_size: Noised latents a step, of the anchor and of what is preserved (paper: 8).
        images: Images drawn for each anchor, and once more for what is preserved (paper: 1000).
        pool: Noised latents made from them, each time.
        bins: DDIM bins the timesteps are drawn from.
        target_modules: Sites to change, a regular expression for the module path.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = DoCo(projection=0.5).resolve({"warm_up": 100})
        >>> chosen.projection, chosen.warm_up, chosen.batch_size
        (0.5, 100, 8)
    """

    name: ClassVar[str] = "doco"
    paper: ClassVar[str] = "https://arxiv.org/abs/2405.15304"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "trained"
    separable: ClassVar[bool] = False
    restorable: ClassVar[str] = "everything, exactly; not one of several concepts"
    cost: ClassVar[str] = "hundreds of steps, two U-Net forwards and backwards each"
    predictions: ClassVar[int] = 2

    projection: float = from_paper(1.0, least=0)
    warm_up: int = from_paper(1000, least=0)
    discriminator_rate: float = from_paper(5e-4, above=0)
    learning_rate: float = from_paper(4.8e-5, above=0)
    batch_size: int = from_paper(8, above=0)
    images: int = from_paper(1000, above=0)
    pool: int = from_paper(1000, above=0)

    def _learner(
        self, model: Backend, change: Change, others: Mapping[Concept, Sequence[Concept]], seed: int
    ) -> Learner:
        contests = [self._contest(model, concept, seed) for concept in others]
        self._warm_up(model, contests, others, seed)
        turns, stop = Turns(contests), MomentumStop.never()

        def unlearning(deltas: Deltas) -> Tensor:
            return next(turns).loss(model, deltas)

        how: dict[str, Any] = {"rate": self.learning_rate, "sources": [turns]}
        if self.projection:
            keep = self._preserved(model, others, seed + self.images)
            how = {**how, "rule": self._rule(model, *keep), "sources": [turns, keep[0]]}
        return Learner.of(change, unlearning, stop, **how)

    def _warm_up(
        self,
        model: Backend,
        contests: Sequence[_Contest],
        others: Mapping[Concept, Sequence[Concept]],
        seed: int,
    ) -> None:
        """Teach the critics what the concepts look like to the pristine model."""
        turns, stop, total = Turns(contests), MomentumStop.never(), self.warm_up * len(contests)
        label = f"tell {', '.join(concept.name for concept in others)} from the anchor"

        def steps() -> Iterator[Step]:
            while stop.steps < total:
                yield stop.update(next(turns).warm_up())

        what = told(self, model, others, seed)
        run(steps(), label, total, None, parts={"critics": turns, "stop": stop}, what=what)

    def _contest(self, model: Backend, concept: Concept, seed: int) -> _Contest:
        """The two domains of one concept, as the pristine model draws them."""
        goal, rows = model.encode((concept.anchor,)), model.encode(concept.prompts)
        if any(torch.equal(row, goal[0]) for row in rows):
            raise MethodError(
                f"{concept.name!r} has a prompt with the embedding of its anchor "
                f"{concept.anchor!r}, so nothing tells them apart. Give it another anchor."
            )
        noised = self._noised(model, (concept.anchor,), seed)
        every = torch.arange(self.pool)
        anchor, target = (
            _clean(model, noised, pristine_noise(model, noised.latents, noised.timesteps, text))
            for text in (goal.expand(self.pool, -1, -1), rows[every % len(rows)])
        )
        critic = Discriminator.drawn(anchor, rate=self.discriminator_rate, seed=seed)
        picks = Batches(torch.arange(self.pool), self.batch_size, seed=seed)
        return _Contest(noised, rows, anchor, target, critic, picks)

    def _preserved(
        self, model: Backend, others: Mapping[Concept, Sequence[Concept]], seed: int
    ) -> tuple[Batches[Noised], Tensor]:
        """Endless batches of images to preserve, and the embeddings of their prompts."""
        prompts = preserved_prompts(others, self.images, seed)
        noised = self._noised(model, prompts, seed)
        return Batches(noised, self.batch_size, seed=seed), model.encode(prompts)

    def _rule(self, model: Backend, preserved: Batches[Noised], rows: Tensor) -> Rule:
        """The gradient of a loss without what works against predicting the preserved images."""

        def careful(loss: Tensor, deltas: Deltas) -> list[Tensor]:
            wanted = steepest(loss, deltas)
            part = next(preserved)
            at = (part.latents, part.timesteps, rows[part.prompts])
            error = mse_loss(model.predict_noise(*at, deltas=deltas).float(), part.noise.float())
            pairs = zip(wanted, steepest(error, deltas), strict=True)
            return [without_conflict(want, keep, self.projection) for want, keep in pairs]

        return careful

    def _noised(self, model: Backend, prompts: Sequence[str], seed: int) -> Noised:
        options = {"images": self.images, "size": self.pool, "bins": self.bins, "seed": seed}
        return noised_images(model, prompts, **options)


@dataclass(frozen=True, slots=True, eq=False)
class _Contest:
    """Who draws for a concept against who tells it from the anchor.

    Attributes:
        noised: Images of the anchor.
        rows: Embeddings of the concept's prompts; noised latent ``i`` gets row ``i mod n``.
        anchor: Clean estimates of the pristine model for the anchor, as ``noised.latents``.
        target: Those for the concept.
        critic: The discriminator.
        picks: Indices of the batches.
    """

    noised: Noised
    rows: Tensor
    anchor: Tensor
    target: Tensor
    critic: Discriminator
    picks: Batches[Tensor]

    def state(self) -> State:
        """The critic's and the order's."""
        return gathered({"critic": self.critic, "picks": self.picks})

    def load(self, state: State) -> None:
        """Go on from there."""
        spread({"critic": self.critic, "picks": self.picks}, state)

    def warm_up(self) -> float:
        """One step of the critic on the concept as the pristine model draws it."""
        pick = next(self.picks)
        return self.critic.learn(self.anchor[pick], self.target[pick])

    def loss(self, model: Backend, deltas: Deltas) -> Tensor:
        """How clearly the changed model still draws the concept, after a step of the critic."""
        pick = next(self.picks)
        part, embeds = self.noised[pick], self.rows[pick % len(self.rows)]
        noise = model.predict_noise(part.latents, part.timesteps, embeds, deltas=deltas)
        drawn = _clean(model, part, noise)
        self.critic.learn(self.anchor[pick], drawn.detach())
        return self.critic.betrayal(drawn)


def _clean(model: Backend, noised: Noised, noise: Tensor) -> Tensor:
    """The clean latents that some predicted noise implies, ``x0 = (x_t - sigma eps) / alpha``."""
    ones = torch.ones_like(noised.latents)
    signal = model.add_noise(ones, torch.zeros_like(ones), noised.timesteps).float()
    spread = model.add_noise(torch.zeros_like(ones), ones, noised.timesteps).float()
    return (noised.latents.float() - spread * noise.float()) / signal.clamp(min=_FAINTEST)


def preserved_prompts(
    others: Mapping[Concept, Sequence[Concept]], most: int, seed: int
) -> tuple[str, ...]:
    """At most so many prompts whose images are preserved: the anchors, then what is retained."""
    erased = {prompt for concept in others for prompt in concept.prompts}
    anchors = dict.fromkeys(concept.anchor for concept in others)
    listed = [prompt for known in others.values() for other in known for prompt in other.prompts]
    rest = [prompt for prompt in dict.fromkeys(listed) if prompt not in anchors]
    order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))
    prompts = (*anchors, *(rest[place] for place in order))
    return tuple(prompt for prompt in prompts if prompt not in erased)[:most]
