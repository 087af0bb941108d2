"""Forget-Me-Not: the model is taught to look away from the concept's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.core.method import from_paper
from sepme.methods._attention import norm
from sepme.methods._bases import Unconstrained
from sepme.methods._batches import Batches, Rows, Turns
from sepme.methods._changes import Change, Deltas
from sepme.methods._descent import Learner
from sepme.methods._pools import noised_images
from sepme.methods._spans import phrase_rows
from sepme.methods._templates import Wording, wordings
from sepme.methods._training import MomentumStop


@dataclass(frozen=True, slots=True, eq=False)
class _Sight(Rows):
    """Noised images of a concept, and which tokens of their prompts say it."""

    latents: Tensor
    timesteps: Tensor
    embeds: Tensor
    columns: Tensor


@dataclass(frozen=True, kw_only=True)
class ForgetMeNot(Unconstrained):
    """Suppress the attention that a concept's words get (attention re-steering).

    The loss is the Frobenius norm of the cross-attention probabilities at the tokens that say the
    concept, over all layers, heads and pixels of an image, averaged over the batch, on noised
    images that the pristine model drew for the concept. Nothing says what is to be drawn instead.
    No prompt is left alone for certain, and several concepts, which take turns, share one shift,
    which can be taken back as a whole only.

    Args:
        columns: ``"phrase"`` looks away from the concept's own tokens; ``"to-end"`` also from
            every row after them, which have read the concept.
        learning_rate: Of Adam (official code: 2e-6).
        max_steps: Steps for each concept; there is no early stop (official code: 35).
        batch_size: Noised latents a step.
        images: Images the pristine model draws for each concept.
        pool: Noised latents made from them.
        bins: DDIM bins the timesteps are drawn from.
        target_modules: Sites to change, a regular expression for the module path.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = ForgetMeNot(columns="to-end").resolve()
        >>> chosen.columns, chosen.max_steps, chosen.learning_rate
        ('to-end', 35, 2e-06)
    """

    name: ClassVar[str] = "fmn"
    paper: ClassVar[str] = "https://arxiv.org/abs/2303.17591"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "trained"
    separable: ClassVar[bool] = False
    restorable: ClassVar[str] = "everything, exactly; not one of several concepts"
    cost: ClassVar[str] = "a few dozen steps, one U-Net forward and backward each"

    columns: Literal["phrase", "to-end"] = from_paper("phrase", one_of=("phrase", "to-end"))
    learning_rate: float = from_paper(2e-6, above=0)
    max_steps: int = from_paper(35, above=0)

    def _learner(
        self, model: Backend, change: Change, others: Mapping[Concept, Sequence[Concept]], seed: int
    ) -> Learner:
        turns = Turns([self._sights(model, concept, seed) for concept in others])

        def attention(deltas: Deltas) -> Tensor:
            part = next(next(turns))
            maps = model.attend(part.latents, part.timesteps, part.embeds, deltas=deltas)
            return attention_norm(maps, part.columns).mean()

        stop = MomentumStop.never()
        return Learner.of(change, attention, stop, rate=self.learning_rate, sources=[turns])

    def _sights(self, model: Backend, concept: Concept, seed: int) -> Batches[_Sight]:
        """Endless batches of one concept."""
        said = wordings(concept)
        prompts = [wording.target for wording in said]
        options = {"images": self.images, "size": self.pool, "bins": self.bins, "seed": seed}
        drawn = noised_images(model, prompts, **options)
        embeds = model.encode(prompts)
        columns = torch.stack([self._columns(model, one, embeds.shape[1]) for one in said])
        named = (part.to(drawn.latents.device)[drawn.prompts] for part in (embeds, columns))
        whole = _Sight(drawn.latents, drawn.timesteps, *named)
        return Batches(whole, self.batch_size, seed=seed)

    def _columns(self, model: Backend, said: Wording, tokens: int) -> Tensor:
        """Which tokens to look away from: 1 or 0 for each, ``(tokens,)``."""
        rows = phrase_rows(model, said.before, said.phrase)
        chosen = torch.zeros(tokens)
        chosen[rows.start : rows.stop if self.columns == "phrase" else None] = 1
        return chosen


def attention_norm(maps: Mapping[str, Tensor], columns: Tensor) -> Tensor:
    """Frobenius norm of the attention that some tokens get, over layers, heads and pixels.

    Args:
        maps: Layer to probabilities, ``(n, heads, pixels, tokens)``.
        columns: 1 for the tokens that count, else 0, ``(n, tokens)``.

    Returns:
        One norm for each image, ``(n,)``, float32.
    """
    squares = [
        (probabilities.float() * columns[:, None, None]).square().sum(dim=(1, 2, 3))
        for probabilities in maps.values()
    ]
    return norm(torch.stack(squares).sum(dim=0))
