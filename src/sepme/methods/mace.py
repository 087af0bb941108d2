"""MACE: context words are refined, a small adapter a concept looks away from it, all are fused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sepme.core.backend import CROSS_ATTN_KV, Backend
from sepme.core.concept import Concept
from sepme.core.dense_shift import DenseShift
from sepme.core.listing import apart, listed
from sepme.core.method import Method, from_paper
from sepme.core.record import Scalar
from sepme.core.shift import ConceptShift
from sepme.linalg.fusion import fuse
from sepme.linalg.text_map import text_map
from sepme.methods._adapters import Adapters
from sepme.methods._attention import for_layer, norm
from sepme.methods._changes import Deltas
from sepme.methods._context import Context, context_of
from sepme.methods._descent import Learner, descend
from sepme.methods._regions import regions
from sepme.methods._training import MomentumStop, OnStep, run, told


@dataclass(frozen=True, kw_only=True)
class MACE(Method):
    """Erase many concepts at once: refine the context, train one adapter each, fuse them.

    First a closed form sends what the words around a concept know of it to what they know in the
    same sentence about the anchor. Then, on top of that, an adapter of low rank is trained for
    each concept that lowers the norm of the attention its words get where it is drawn; where that
    is, the pristine model's own attention says. Last, one change of each weight is solved for that
    gives every concept's rows what its own adapter gives them and moves retained rows as little as
    possible. No prompt is left alone for certain, and what is solved together can be taken back
    together only.

    Args:
        lamb: lambda of both closed forms, weight of changing nothing (official code, objects: 1e3).
        preserve_scale: Weight of retained rows in both closed forms.
        rank: Of a concept's adapter (paper: 1).
        threshold: Least attention of a pixel for it to belong to the concept, 0 to 1 between the
            least and the most attentive one; 0 is the whole image.
        learning_rate: Of Adam (official code: 1e-4 for people and styles, 1e-5 for objects).
        max_steps: Steps for each concept; there is no early stop (official code: 50).
        batch_size: Noised latents a step.
        images: Images the pristine model draws for each concept (official code: 8).
        pool: Noised latents made from them.
        target_modules: Sites to change, a regular expression for the module path.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = MACE(learning_rate=1e-5).resolve()
        >>> chosen.rank, chosen.max_steps, chosen.learning_rate
        (1, 50, 1e-05)
    """

    name: ClassVar[str] = "mace"
    paper: ClassVar[str] = "https://arxiv.org/abs/2403.06135"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "trained"
    separable: ClassVar[bool] = False
    together: ClassVar[bool] = True
    restorable: ClassVar[str] = "all concepts of one fit together, exactly"
    cost: ClassVar[str] = "two linear systems; for each concept some images and 50 steps"

    lamb: float = from_paper(1e3, above=0)
    preserve_scale: float = from_paper(1.0, least=0)
    rank: int = from_paper(1, above=0)
    threshold: float = from_paper(0.3, least=0, most=1)
    learning_rate: float = from_paper(1e-4, above=0)
    max_steps: int = from_paper(50, above=0)
    batch_size: int = from_paper(1, above=0)
    images: int = from_paper(8, above=0)
    pool: int = from_paper(32, above=0)
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
        """Find the shift that makes the model forget one concept.

        Args:
            model: The model.
            concept: What to erase, and the anchor its context is sent to.
            retain: What to leave alone as far as possible, besides ``model.known``.
            seed: Seed of images, timesteps, noise and adapter.
            on_step: Called after every step.

        Returns:
            The shift.

        Raises:
            NotSeparable: If the concept is to be left alone too.
            Diverged: If the loss is no longer finite.
        """
        return self.fit_here(model, (concept,), retain=retain, seed=seed, on_step=on_step)[0]

    def fit_here(
        self,
        model: Backend,
        concepts: Sequence[Concept],
        *,
        retain: Sequence[Concept] = (),
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> tuple[ConceptShift, ...]:
        """Find one shift that makes the model forget several concepts.

        Args:
            model: The model.
            concepts: What to erase.
            retain: What to leave alone as far as possible, besides ``model.known``.
            seed: Seed of images, timesteps, noise and adapters.
            on_step: Called after every step; the concepts are trained one after another.

        Returns:
            One shift that names all concepts; none for no concepts.

        Raises:
            NotSeparable: If a concept is to be left alone too.
            MethodError: If a concept comes twice, or a closed form cannot be solved.
            Diverged: If the loss is no longer finite.
        """
        if not concepts:
            return ()
        everything = zip(concepts, apart(model, concepts, retain), strict=True)
        others = dict.fromkeys(o for c, alone in everything for o in listed(model, c, alone))
        ordered = sorted(concepts, key=lambda concept: concept.name)
        names = {concept.name for concept in ordered}
        alone = tuple(other for other in others if other.name not in names)
        chosen = self.resolve(model.presets.get(self.name))
        return (chosen._erased(model, dict.fromkeys(ordered, alone), seed, on_step),)

    def _erased(
        self,
        model: Backend,
        concepts: Mapping[Concept, Sequence[Concept]],
        seed: int,
        on_step: OnStep | None,
    ) -> ConceptShift:
        prompts = [prompt for alone in concepts.values() for o in alone for prompt in o.prompts]
        kept = model.encode(tuple(dict.fromkeys(prompts))).flatten(0, 1)
        contexts = [context_of(model, concept) for concept in concepts]
        refined, what = self._refined(model, contexts, kept), told(self, model, concepts, seed)
        trained = [
            self._trained(model, concept, context, refined, what, seed, on_step)
            for concept, context in zip(concepts, contexts, strict=True)
        ]
        adapters = [learner.change.deltas() for learner in trained]
        fused = fuse(
            [context.named for context in contexts],
            adapters,
            kept,
            base=refined,
            preserve_scale=self.preserve_scale,
            lamb=self.lamb,
        )
        facts: dict[str, Scalar] = {
            "rows": sum(len(context.around) for context in contexts),
            "retained": len(kept),
            "steps": sum(learner.stop.steps for learner in trained),
            "momentum": max(learner.stop.momentum for learner in trained),
        }
        return ConceptShift(
            concepts=tuple(concepts),
            payload=DenseShift({site: change.float() for site, change in fused.items()}),
            decoupled_from=(),
            separable=self.separable,
            provenance=self.provenance(model, seed=seed, fit=facts),
        )

    def _refined(
        self, model: Backend, contexts: Sequence[Context], kept: Tensor
    ) -> dict[str, Tensor]:
        """Stage 1: what the rows around the concepts say goes to what they say of the anchors."""
        found = text_map(
            torch.cat([context.around for context in contexts]),
            torch.cat([context.goals for context in contexts]),
            kept,
            preserve_scale=self.preserve_scale,
            lamb=self.lamb,
        ).dense()
        sites = model.sites(self.target_modules)
        return {site: weight.to("cpu", torch.float64) @ found for site, weight in sites.items()}

    def _trained(
        self,
        model: Backend,
        concept: Concept,
        context: Context,
        refined: Mapping[str, Tensor],
        what: str,
        seed: int,
        on_step: OnStep | None,
    ) -> Learner:
        """Stage 2: an adapter that looks away from one concept, on top of the refined weights."""
        sites = model.sites(self.target_modules)
        base = {site: refined[site].to(weight) for site, weight in sites.items()}
        options = {"images": self.images, "size": self.pool, "batch": self.batch_size}
        seen = regions(model, context, **options, threshold=self.threshold, seed=seed)

        def looks(deltas: Deltas) -> Tensor:
            part = next(seen)
            changed = {site: base[site] + delta for site, delta in deltas.items()}
            maps = model.attend(part.latents, part.timesteps, part.embeds, deltas=changed)
            return attention_inside(maps, part.columns, part.mask)

        adapters = Adapters.zeros(sites, rank=self.rank, seed=seed)
        stop = MomentumStop.never()
        learner = Learner.of(adapters, looks, stop, rate=self.learning_rate, sources=[seen])
        steps, label = descend([learner], steps=self.max_steps), f"erase {concept.name}"
        run(steps, label, self.max_steps, on_step, parts={"adapter": learner}, what=what)
        return learner


def attention_inside(maps: Mapping[str, Tensor], columns: Tensor, mask: Tensor) -> Tensor:
    """Summed over layers, the norm of the attention that some tokens get inside a mask.

    Args:
        maps: Layer to probabilities, ``(n, heads, pixels, tokens)``.
        columns: 1 for the tokens that count, else 0, ``(n, tokens)``.
        mask: 1 for the pixels that count, else 0, ``(n, height, width)``.

    Returns:
        Averaged over the images; a scalar, float32.
    """
    norms = []
    for probabilities in maps.values():
        inside = for_layer(mask, probabilities.shape[2])[:, None, :, None]
        chosen = probabilities.float() * inside * columns[:, None, None]
        norms.append(norm(chosen.square().sum(dim=(1, 2, 3))))
    return torch.stack(norms).sum(dim=0).mean()
