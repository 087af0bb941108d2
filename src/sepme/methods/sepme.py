"""SepME: separable multi-concept erasure, one concept at a time (the paper's separate variant)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sepme.core.backend import CROSS_ATTN_KV, Backend
from sepme.core.concept import BLANK, Concept
from sepme.core.method import Method, from_paper, listed
from sepme.core.payload import SiteShift
from sepme.core.record import Scalar
from sepme.core.shift import ConceptShift
from sepme.linalg.null_space import null_space, private_directions, separability
from sepme.methods._training import (
    FrozenPool,
    MomentumStop,
    OnStep,
    Step,
    batches,
    frozen_pool,
    run,
)


@dataclass(frozen=True, kw_only=True)
class SepME(Method):
    """Erase a concept by decorrelating its noise representation, inside a null space.

    The shift of site ``l`` is ``dW_l = beta A_l D`` with ``E D^T = 0`` for the text embeddings
    ``E`` of every listed prompt (SRS-ME, eq. 17-26), so those prompts' keys and values stay as
    they are, whatever other shifts are active. ``A`` starts at zero and minimises
    ``L_cor + lambda ||dtheta||_1`` with ``L_cor = mean(r_c(theta0 + dtheta) r_c(theta0))`` and
    ``r_c = eps(x_t, c) - eps(x_t, "")`` (eq. 27-28, 34-36), until its running mean is down to
    ``tau`` (eq. 37). The stop is essential: going on destroys more than the concept.

    Args:
        learning_rate: Of Adam (paper: 0.1).
        scale: beta, what the learned factors are multiplied with (paper: 1e-4).
        momentum: alpha of the momentum stop, 0 to 1 (paper: 0.9).
        threshold: tau of the momentum stop, in units of the loss (paper: 1e-4).
        penalty: lambda, weight of the L1 norm averaged over sites (paper: 1e-6).
        max_steps: Steps after which training ends without the stop (paper: 1000).
        batch_size: Noised latents a step (paper: 1).
        basis: ``"null-space"`` learns on every direction of the null space, as the paper does;
            ``"private"`` only on those along which the target's own rows move.
        energy: Share of the target's squared norm the private directions keep, above 0 to 1.
        rtol: Relative tolerance of the null space's rank (dimensionless).
        images: Images the pristine model draws for the concept.
        pool: Noised latents made from them.
        bins: DDIM bins the timesteps are drawn from (paper: 50).
        target_modules: Sites to change, a regular expression for the module path.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = SepME(basis="private").resolve({"scale": 0.01})
        >>> chosen.basis, chosen.scale, chosen.learning_rate
        ('private', 0.01, 0.1)
    """

    name: ClassVar[str] = "sepme"
    paper: ClassVar[str] = "https://arxiv.org/abs/2402.05947"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "trained"
    separable: ClassVar[bool] = True
    restorable: ClassVar[str] = "any one concept, exactly on the prompts the others list"
    cost: ClassVar[str] = "tens of steps a concept, one U-Net forward and backward each"

    learning_rate: float = from_paper(0.1, above=0)
    scale: float = from_paper(1e-4, above=0)
    momentum: float = from_paper(0.9, least=0, most=1)
    threshold: float = from_paper(1e-4)
    penalty: float = from_paper(1e-6, least=0)
    max_steps: int = from_paper(1000, above=0)
    batch_size: int = from_paper(1, above=0)
    basis: Literal["null-space", "private"] = from_paper(
        "null-space", one_of=("null-space", "private")
    )
    energy: float = from_paper(1.0, above=0, most=1)
    rtol: float = from_paper(1e-6, above=0, most=1)
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

        The model is never changed, not even while fitting: trial weights exist only inside the
        forward pass.

        Args:
            model: The model.
            concept: What to erase; its prompts are what the paper trains on.
            retain: What to leave alone, besides ``model.known``.
            seed: Seed of images, timesteps and noise.
            on_step: Called after every step.

        Returns:
            The shift; its ``provenance.fit`` tells rank, leak, separability, directions, steps,
            the momentum statistic reached and whether the stop fired.

        Raises:
            NullSpaceExhausted: If the listed prompts span the whole text space.
            NotSeparable: If the concept has no direction of its own, or is to be left alone too.
            Diverged: If the loss is no longer finite.
        """
        chosen = self.resolve(model.presets.get(self.name))
        others = listed(model, concept, retain)
        directions, facts = chosen._room(model, concept, others)
        factors = _Factors.zeros(model.sites(chosen.target_modules), directions, chosen.scale)
        pool = frozen_pool(
            model, concept, images=chosen.images, size=chosen.pool, bins=chosen.bins, seed=seed
        )
        steps = chosen._descend(model, pool, factors, seed)
        last = run(steps, f"erase {concept.name}", chosen.max_steps, on_step)
        if last is not None:
            facts |= {"steps": last.number, "momentum": last.momentum, "stopped": last.stopped}
        return ConceptShift(
            concepts=(concept,),
            payload=factors.payload(),
            decoupled_from=tuple(other.name for other in others),
            separable=self.separable,
            provenance=chosen.provenance(model, seed=seed, fit=facts),
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

    def _descend(
        self, model: Backend, pool: FrozenPool, factors: _Factors, seed: int
    ) -> Iterator[Step]:
        """Train the factors; one U-Net forward and backward a step, none after the stop."""
        optimizer = torch.optim.Adam(factors.parameters.values(), lr=self.learning_rate, fused=True)
        stop = MomentumStop(self.momentum, self.threshold)
        visits = batches(len(pool), self.batch_size, seed=seed)
        for pick in islice(visits, self.max_steps):
            part, deltas = pool[pick], factors.deltas()
            noise = model.predict_noise(part.latents, part.timesteps, part.embeds, deltas=deltas)
            correlation = ((noise.float() - part.blank) * part.representation).mean()
            step = stop.update(correlation.item())
            yield step
            if step.stopped:
                return
            optimizer.zero_grad()
            torch.autograd.backward(*self._roots(correlation, deltas.values()))
            optimizer.step()

    def _roots(
        self, correlation: Tensor, deltas: Collection[Tensor]
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """Where the backward pass starts, with which gradient; the L1 norm's is known."""
        share = self.penalty / len(deltas)
        return [correlation, *deltas], [None, *(share * delta.detach().sign() for delta in deltas)]


@dataclass(frozen=True, slots=True, eq=False)
class _Factors:
    """A shift while it is learned: ``dW_l = beta A_l D``, with the ``A_l`` as parameters."""

    scale: float
    directions: Tensor
    parameters: Mapping[str, Tensor]

    @classmethod
    def zeros(cls, sites: Mapping[str, Tensor], directions: Tensor, scale: float) -> _Factors:
        """No change at all, in float32 beside the sites' weights."""
        device = next(iter(sites.values())).device
        shared = directions.to(device, torch.float32)
        parameters = {
            site: torch.zeros(len(weight), len(shared), device=device, requires_grad=True)
            for site, weight in sites.items()
        }
        return cls(scale, shared, parameters)

    def deltas(self) -> dict[str, Tensor]:
        """The change of every site, ``(d_out, d_text)``, differentiable."""
        return {s: self.scale * a @ self.directions for s, a in self.parameters.items()}

    def payload(self) -> SiteShift:
        """What has been learned so far."""
        learned = {s: self.scale * a.detach() for s, a in self.parameters.items()}
        return SiteShift(self.directions, learned)
