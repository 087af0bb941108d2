"""ESD: erased Stable Diffusion, training cross-attention (ESD-x), all else (ESD-u), or less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import mse_loss

from sepme.core.backend import CROSS_ATTN_KV, Backend
from sepme.core.concept import Concept
from sepme.core.method import from_paper
from sepme.methods._bases import Unconstrained
from sepme.methods._batches import Turns
from sepme.methods._changes import Change, Deltas
from sepme.methods._descent import Learner
from sepme.methods._training import MomentumStop

_VARIANTS = {
    "x": r".*\.attn2\..*",
    "u": r"(?!.*\.attn2\.|time_embedding\.|conv_out$).*",
    "strict": CROSS_ATTN_KV,
}
"""Weights that are trained: cross-attention, all but it, or only its keys and values."""


@dataclass(frozen=True, kw_only=True)
class ESD(Unconstrained):
    """Erase a concept by teaching the model to steer away from it on its own.

    The changed model's prediction for the concept is drawn to what the original says with
    negative guidance: ``||eps(x_t, c) - [eps0(x_t, "") - eta (eps0(x_t, c) - eps0(x_t, ""))]||^2``,
    averaged over elements. Both predictions of the original are those of a fixed pool of noised
    latents, so they are made once. No prompt is left alone for certain, and several concepts, which
    take turns, share one shift, which can be taken back as a whole only.

    Args:
        guidance: eta, the strength of negative guidance (paper: 1).
        learning_rate: Of Adam (paper: 1e-5).
        max_steps: Steps for each concept; there is no early stop (paper: 1000).
        batch_size: Noised latents a step (paper: 1).
        images: Images the pristine model draws for each concept.
        pool: Noised latents made from them.
        bins: DDIM bins the timesteps are drawn from (paper: 50).
        variant: ``"x"`` trains all weights of cross-attention, which the paper does for styles;
            ``"u"`` all linear and convolution weights but those, the time embedding and the last
            layer, which it does for objects and nudity; ``"strict"`` only keys and values of
            cross-attention.
        target_modules: Sites to change, a regular expression for the module path; empty: those of
            the variant.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = ESD(guidance=2.0).resolve()
        >>> chosen.guidance, chosen.learning_rate, chosen.max_steps
        (2.0, 1e-05, 1000)
    """

    name: ClassVar[str] = "esd"
    paper: ClassVar[str] = "https://arxiv.org/abs/2303.07345"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "trained"
    separable: ClassVar[bool] = False
    restorable: ClassVar[str] = "everything, exactly; not one of several concepts"
    cost: ClassVar[str] = "hundreds of steps, one U-Net forward and backward each"

    variant: Literal["x", "u", "strict"] = from_paper("x", one_of=tuple(_VARIANTS))
    target_modules: str = from_paper("")
    guidance: float = from_paper(1.0, above=0)
    learning_rate: float = from_paper(1e-5, above=0)

    def _targets(self) -> str:
        return self.target_modules or _VARIANTS[self.variant]

    def _learner(
        self, model: Backend, change: Change, others: Mapping[Concept, Sequence[Concept]], seed: int
    ) -> Learner:
        turns = Turns([self._parts(model, concept, seed) for concept in others])

        def distance(deltas: Deltas) -> Tensor:
            part = next(next(turns))
            noise = model.predict_noise(part.latents, part.timesteps, part.embeds, deltas=deltas)
            return mse_loss(noise.float(), part.blank - self.guidance * part.representation)

        stop = MomentumStop.never()
        return Learner.of(change, distance, stop, rate=self.learning_rate, sources=[turns])
