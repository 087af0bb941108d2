"""SPM: concept semi-permeable membranes, gated rank-1 adapters trained for each concept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from sepme.core.adapter_guard import AdapterGuard
from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.core.method import from_paper
from sepme.core.shift import ConceptShift
from sepme.methods._bases import Trained
from sepme.methods._batches import Draw
from sepme.methods._changes import Deltas
from sepme.methods._descent import Learner, Loss
from sepme.methods._pools import FrozenPool
from sepme.methods._training import MomentumStop, OnStep


@dataclass(frozen=True, slots=True, eq=False)
class _Membrane:
    """One rank-1 adapter beside every site while it is learned: ``dW_l = up_l down_l``."""

    concept: Tensor
    down: Mapping[str, Tensor]
    up: Mapping[str, Tensor]

    @classmethod
    def closed(cls, sites: Mapping[str, Tensor], concept: Tensor, seed: int) -> _Membrane:
        """Adapters that change nothing yet: random ways down, ways up of zeros."""
        draw = torch.Generator().manual_seed(seed)
        down, up = {}, {}
        for site, weight in sites.items():
            row = torch.randn(1, weight.shape[1], generator=draw) / math.sqrt(weight.shape[1])
            down[site] = row.to(weight.device).requires_grad_()
            up[site] = torch.zeros(len(weight), 1, device=weight.device, requires_grad=True)
        return cls(concept, down, up)

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The ways down and up of every site."""
        named = {"down": self.down, "up": self.up}
        return {f"{way}.{site}": t for way, part in named.items() for site, t in part.items()}

    def deltas(self) -> dict[str, Tensor]:
        """The change of every site with the gate open, differentiable."""
        return {site: column @ self.down[site] for site, column in self.up.items()}

    def payload(self) -> AdapterGuard:
        """What has been learned so far."""
        return AdapterGuard(self.concept, self.down, self.up)


@dataclass(frozen=True, kw_only=True)
class SPM(Trained):
    """Train a rank-1 adapter beside the linear layers, and let it act on prompts like the concept.

    With the gate open the model is drawn from the concept to the anchor, ``||eps(x_t, c) -
    [eps0(x_t, a) - eta (eps0(x_t, c) - eps0(x_t, a))]||^2``, and held to what the original says of
    random embeddings ``r``, ``||eps(x_t, r) - eps0(x_t, r)||^2`` (latent anchoring). When the model
    runs, the adapter is scaled by how much the prompt is like the concept. Adapters of several
    concepts are trained one by one and act side by side in one guard.

    Args:
        guidance: eta, the strength of negative guidance (paper: 1).
        anchoring: Weight of latent anchoring (paper: 1000).
        anchors: Random embeddings a step (paper: 4).
        learning_rate: Of Adam (paper: 1e-4).
        max_steps: Steps; there is no early stop (paper: 3000).
        batch_size: Noised latents a step (paper: 1).
        images: Images the pristine model draws for each concept.
        pool: Noised latents made from them.
        bins: DDIM bins the timesteps are drawn from.
        target_modules: Linear layers that get an adapter, a regular expression for the module path.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = SPM(guidance=2.0).resolve()
        >>> chosen.guidance, chosen.anchoring, chosen.max_steps
        (2.0, 1000.0, 3000)
    """

    name: ClassVar[str] = "spm"
    paper: ClassVar[str] = "https://arxiv.org/abs/2312.16145"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "guard"
    separable: ClassVar[bool] = False
    restorable: ClassVar[str] = "all concepts of one guard together, exactly"
    cost: ClassVar[str] = "thousands of steps, ten U-Net forwards and five backwards each"
    predictions: ClassVar[int] = 10

    guidance: float = from_paper(1.0, above=0)
    anchoring: float = from_paper(1000.0, least=0)
    anchors: int = from_paper(4, above=0)
    learning_rate: float = from_paper(1e-4, above=0)
    max_steps: int = from_paper(3000, above=0)
    target_modules: str = from_paper(r".*\.transformer_blocks\..*")

    def fit_here(
        self,
        model: Backend,
        concepts: Sequence[Concept],
        *,
        retain: Sequence[Concept] = (),
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> tuple[ConceptShift, ...]:
        """Train an adapter for every concept; they act in one guard.

        Args:
            model: The model.
            concepts: What to erase.
            retain: Only compared with the concepts.
            seed: Seed of images, timesteps, noise and adapters.
            on_step: Called after every step of every concept.

        Returns:
            One shift that names all concepts; none for no concepts.

        Raises:
            NotSeparable: If a concept is to be left alone too.
            MethodError: If a concept comes twice.
            Diverged: If a loss is no longer finite.
        """
        return self._fit_together(model, concepts, retain, seed, on_step)

    def _learn(
        self,
        model: Backend,
        others: Mapping[Concept, tuple[Concept, ...]],
        seed: int,
        on_step: OnStep | None,
    ) -> tuple[ConceptShift, ...]:
        concepts = tuple(sorted(others, key=lambda concept: concept.name))
        learned = [self._membrane(model, concept, seed, on_step) for concept in concepts]
        guard = reduce(AdapterGuard.beside, (membrane.payload() for membrane, _ in learned))
        facts = {"steps": self.max_steps, "loss": max(loss for _, loss in learned)}
        origin = self.provenance(model, seed=seed, fit=facts)
        return (ConceptShift(concepts, guard, (), self.separable, origin),)

    def _membrane(
        self, model: Backend, concept: Concept, seed: int, on_step: OnStep | None
    ) -> tuple[_Membrane, float]:
        """The adapters of one concept, and their running loss."""
        sites = {s: w for s, w in model.sites(self.target_modules).items() if w.ndim == 2}
        name = model.encode(concept.prompts[:1]).flatten(1).float()
        membrane = _Membrane.closed(sites, name, seed)
        batches, draw, stop = self._parts(model, concept, seed), Draw(seed), MomentumStop.never()
        loss, sources = self._loss(model, concept, batches, draw), (batches, draw)
        learner = Learner.of(membrane, loss, stop, rate=self.learning_rate, sources=sources)
        self._descend({"adapter": learner}, model, {concept: ()}, seed, on_step)
        return membrane, stop.momentum

    def _loss(
        self, model: Backend, concept: Concept, batches: Iterator[FrozenPool], draw: Draw
    ) -> Loss:
        goal = model.encode((concept.anchor,))

        def distance(deltas: Deltas) -> Tensor:
            part = next(batches)
            given, goals = (part.latents, part.timesteps), goal.expand(len(part), -1, -1)
            with torch.no_grad():
                anchor = model.predict_noise(*given, goals).float()
            target = anchor - self.guidance * (part.blank + part.representation - anchor)
            noise = model.predict_noise(*given, part.embeds, deltas=deltas)
            loss = mse_loss(noise.float(), target)
            return loss + self.anchoring * self._held(model, part, deltas, draw)

        return distance

    def _held(
        self, model: Backend, part: FrozenPool, deltas: Deltas, draw: torch.Generator
    ) -> Tensor:
        """How far the model moved on random embeddings, from the original."""
        pick = torch.arange(self.anchors) % len(part)
        latents, timesteps = part.latents[pick], part.timesteps[pick]
        strangers = _strangers(part.embeds[pick], draw)
        with torch.no_grad():
            before = model.predict_noise(latents, timesteps, strangers).float()
        after = model.predict_noise(latents, timesteps, strangers, deltas=deltas)
        return mse_loss(after.float(), before)


def _strangers(embeds: Tensor, draw: torch.Generator) -> Tensor:
    """Random embeddings about as long as the concept's; the less like it, the likelier."""
    found: list[Tensor] = []
    while len(found) < len(embeds):
        concept = embeds[len(found)].float().cpu()
        stranger = torch.randn(concept.shape, generator=draw)
        stretch, chance = (0.8 + 0.4 * torch.rand(1, generator=draw)), torch.rand(1, generator=draw)
        cosine = torch.nn.functional.cosine_similarity(stranger.flatten(), concept.flatten(), dim=0)
        if chance < 1 - cosine:
            found.append(stranger * stretch * concept.norm() / stranger.norm())
    return torch.stack(found).to(embeds)
