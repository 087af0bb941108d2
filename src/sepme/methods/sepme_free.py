"""SepME without the null space (the paper's unconstrained variant, SRS-ME double dagger)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sepme.core.backend import Backend
from sepme.core.concept import BLANK, Concept
from sepme.core.method import from_paper
from sepme.methods._bases import Unconstrained
from sepme.methods._changes import Change, Deltas
from sepme.methods._correlation import correlation
from sepme.methods._descent import Learner, balance
from sepme.methods._pools import FrozenPool
from sepme.methods._training import MomentumStop


@dataclass(frozen=True, kw_only=True)
class SepMEFree(Unconstrained):
    """Erase concepts by decorrelating their noise representations, with every weight free.

    The ``dW_l`` themselves minimise ``sum_i eta_i L_cor(c_i) + lambda ||dtheta||_1`` with
    ``L_cor = mean(r_c(theta0 + dtheta) r_c(theta0))`` and ``r_c = eps(x_t, c) - eps(x_t, "")``
    (SRS-ME, eq. 27-28, 34-36), until the running loss is down to ``tau`` (eq. 37). Nothing keeps
    the blank prediction where it was, so that each step predicts it anew. No prompt is left alone
    for certain, and several concepts share one shift, which can be taken back as a whole only.

    Args:
        learning_rate: Of Adam (paper: 1e-5).
        momentum: alpha of the momentum stop, 0 to 1 (paper: 0.9).
        threshold: tau of the momentum stop, in units of the loss (paper: 1e-4).
        penalty: lambda, weight of the L1 norm averaged over sites (paper: 1e-6).
        max_steps: Steps after which training ends without the stop (paper: 1000).
        batch_size: Noised latents of each concept a step (paper: 1).
        images: Images the pristine model draws for each concept.
        pool: Noised latents made from them.
        bins: DDIM bins the timesteps are drawn from (paper: 50).
        target_modules: Sites to change, a regular expression for the module path. The paper frees
            all weights of cross-attention, here ``.*[.]attn2[.].*``; the default is its keys and
            values.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = SepMEFree(max_steps=200).resolve()
        >>> chosen.max_steps, chosen.learning_rate, chosen.threshold
        (200, 1e-05, 0.0001)
    """

    name: ClassVar[str] = "sepme-free"
    paper: ClassVar[str] = "https://arxiv.org/abs/2402.05947"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "trained"
    separable: ClassVar[bool] = False
    restorable: ClassVar[str] = "everything, exactly; not one of several concepts"
    cost: ClassVar[str] = "tens to hundreds of steps, two U-Net forwards and a backward each"
    predictions: ClassVar[int] = 2
    in_turns: ClassVar[bool] = False

    learning_rate: float = from_paper(1e-5, above=0)
    momentum: float = from_paper(0.9, least=0, most=1)
    threshold: float = from_paper(1e-4)
    penalty: float = from_paper(1e-6, least=0)

    def _learner(
        self, model: Backend, change: Change, others: Mapping[Concept, Sequence[Concept]], seed: int
    ) -> Learner:
        blank = model.encode(BLANK.prompts)
        batches = [self._parts(model, concept, seed) for concept in others]

        def correlations(deltas: Deltas) -> Tensor:
            losses = [_left(model, next(parts), blank, deltas) for parts in batches]
            weights = balance([loss.item() for loss in losses])
            return torch.stack([*map(mul, weights, losses)]).sum()

        stop = MomentumStop(self.momentum, self.threshold)
        return Learner.of(
            change,
            correlations,
            stop,
            rate=self.learning_rate,
            penalty=self.penalty,
            sources=batches,
        )


def _left(model: Backend, part: FrozenPool, blank: Tensor, deltas: Deltas) -> Tensor:
    """How much of the representation is left, target and blank predicted in one batch."""
    noise = model.predict_noise(
        torch.cat([part.latents, part.latents]),
        torch.cat([part.timesteps, part.timesteps]),
        torch.cat([part.embeds, blank.expand_as(part.embeds)]),
        deltas=deltas,
    )
    target, empty = noise.float().chunk(2)
    return correlation(target - empty, part.representation)
