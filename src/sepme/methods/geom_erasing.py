"""Geom-Erasing: a negative prompt for what no prompt names, learned from a detector's boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor

from sepme.core.backend import Backend
from sepme.core.boxes import Box, locator
from sepme.core.concept import BLANK, Concept
from sepme.core.method import from_paper
from sepme.core.negative_guard import NegativeGuard
from sepme.errors import MethodError, SpecError
from sepme.methods._batches import Batches
from sepme.methods._changes import Deltas, Matrices
from sepme.methods._descent import Learner, descend
from sepme.methods._locations import Captions, area_weights, covered
from sepme.methods._pools import noised_latents
from sepme.methods._spans import text_end
from sepme.methods._together import Solution, Together
from sepme.methods._training import MomentumStop, run, told


class _Drawn(NamedTuple):
    """Images the pristine model draws, and the prompt of each."""

    prompts: tuple[str, ...]
    latents: Tensor


class _Tokens(NamedTuple):
    """Location tokens of one concept, the bin seen most often first."""

    word: str
    table: Tensor
    share: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class GeomErasing(Together):
    """Learn where an implicit concept shows, and steer every image away from it.

    The pristine model draws images for prompts that do not name the concept. A detector boxes it
    in some of them; each bin of a grid that a box covers becomes a location token, put behind the
    concept's word in the image's caption. Only the tokens are trained, on the prediction loss,
    weighted by ``T / (K + a (T - K))`` in the ``K`` of ``T`` latent cells inside the boxes and by
    ``a`` times that outside. What remains is a guard: word and tokens are the negative prompt
    wherever guidance would read the blank one. No prompt's own embedding changes, and no weight.

    Args:
        detector: Finds the concept in images, ``"module:function"`` or the name of an entry point
            in ``sepme.locators``; see `sepme.core.boxes.Locate`. A model's preset may not set it.
        contexts: Prompts whose images are searched, separated by semicolons; empty is the blank
            prompt.
        confidence: A box counts from this confidence on.
        grid: Bins along an edge of the image.
        outside: ``a``, weight of the loss outside the boxes over that inside.
        learning_rate: Of Adam.
        max_steps: Steps; there is no early stop.
        batch_size: Noised latents a step.
        images: Images the pristine model draws.
        pool: Noised latents made from those in which the concept was found.
        bins: DDIM bins the timesteps are drawn from.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = GeomErasing(detector="my_logos:find", grid=8).resolve()
        >>> chosen.detector, chosen.grid, chosen.confidence
        ('my_logos:find', 8, 0.5)
    """

    name: ClassVar[str] = "geom-erasing"
    paper: ClassVar[str] = "https://arxiv.org/abs/2310.05873"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "guard"
    separable: ClassVar[bool] = False
    restorable: ClassVar[str] = "all concepts of one guard together, exactly"
    cost: ClassVar[str] = "images to search, then hundreds of steps of some text rows"

    detector: str = from_paper("")
    contexts: str = from_paper("")
    confidence: float = from_paper(0.5, least=0, most=1)
    grid: int = from_paper(4, above=0)
    outside: float = from_paper(1.0, above=0)
    learning_rate: float = from_paper(1e-2, above=0)
    max_steps: int = from_paper(300, above=0)
    batch_size: int = from_paper(4, above=0)
    images: int = from_paper(64, above=0)
    pool: int = from_paper(256, above=0)
    bins: int = from_paper(50, above=0)

    def resolve(self, preset: Mapping[str, object] | None = None) -> Self:
        """The method with every hyper-parameter chosen: own values, the preset's, ours.

        Args:
            preset: Names to values, as in ``model.presets[name]``; not the detector, which is code
                that would run.

        Returns:
            A method without a None.

        Raises:
            SpecError: If the preset names the detector or a hyper-parameter that does not exist,
                or a value is out of range.
        """
        if "detector" in (preset or {}):
            raise SpecError("a model's preset may not choose the detector: name it in the method.")
        return super().resolve(preset)

    def _solve(
        self, model: Backend, concepts: tuple[Concept, ...], others: tuple[Concept, ...], seed: int
    ) -> Solution:
        if not self.detector:
            raise MethodError(
                'geom-erasing needs a detector that finds the concept, got "". Name a function: '
                'detector="module:function".'
            )
        drawn = self._drawn(model, seed)
        learned = [self._tokens(model, concept, drawn, seed) for concept in concepts]
        facts = {
            "found": min(tokens.share for tokens in learned),
            "tokens": sum(len(tokens.table) for tokens in learned),
            "steps": self.max_steps,
            "loss": max(tokens.loss for tokens in learned),
        }
        blank = model.encode(BLANK.prompts)[0].float().cpu()
        return Solution(NegativeGuard(blank, _negative(model, learned)), facts)

    def _drawn(self, model: Backend, seed: int) -> _Drawn:
        contexts = [prompt.strip() for prompt in self.contexts.split(";")]
        asked = tuple(contexts[i % len(contexts)] for i in range(self.images))
        seeds = [seed + i for i in range(self.images)]
        return _Drawn(asked, model.draw_latents(asked, seeds=seeds))

    def _boxes(self, model: Backend, concept: Concept, drawn: _Drawn) -> list[list[Box]]:
        """The boxes that count in each image."""
        found = locator(self.detector)(model.decode(drawn.latents), concept)
        if len(found) != self.images:
            raise MethodError(
                f"{self.detector!r} gave boxes for {len(found)} images, expected {self.images}."
            )
        sure = [[box for box in boxes if box.confidence >= self.confidence] for boxes in found]
        if not any(sure):
            raise MethodError(
                f"{self.detector!r} finds {concept.name!r} in none of {self.images} images, so "
                "nothing tells where it shows. Draw more images, name contexts that show it, or "
                "leave this model as it is."
            )
        return sure

    def _tokens(self, model: Backend, concept: Concept, drawn: _Drawn, seed: int) -> _Tokens:
        """Learn the location tokens of one concept."""
        boxes = self._boxes(model, concept, drawn)
        hits = [i for i, found in enumerate(boxes) if found]
        seen = torch.stack([covered(boxes[i], self.grid).flatten() for i in hits])
        often = seen.sum(0).argsort(descending=True, stable=True)[: int(seen.any(0).sum())].tolist()
        named = [[k for k, place in enumerate(often) if row[place]] for row in seen]
        word = concept.prompts[0]
        said = [f"{drawn.prompts[i]} {word}".strip() for i in hits]
        ends = {text: text_end(model, text) for text in dict.fromkeys(said)}
        captions = Captions.of(model.encode(said), [ends[text] for text in said], named)
        table = model.encode((word,))[0, text_end(model, word) - 1].detach().float()
        table = table.repeat(len(often), 1).requires_grad_()
        side = drawn.latents.shape[-1]
        weights = area_weights(torch.stack([covered(boxes[i], side) for i in hits]), self.outside)
        learner = self._learner(model, drawn.latents[hits], captions, weights, table, seed)
        steps, label = descend([learner], steps=self.max_steps), f"locate {concept.name}"
        what = told(self, model, {concept: ()}, seed)
        run(steps, label, self.max_steps, None, parts={"tokens": learner}, what=what)
        share = len(hits) / self.images
        return _Tokens(word, table.detach().cpu(), share, learner.stop.momentum)

    def _learner(
        self,
        model: Backend,
        latents: Tensor,
        captions: Captions,
        weights: Tensor,
        table: Tensor,
        seed: int,
    ) -> Learner:
        """What trains the tokens, on what the pristine model drew."""
        turns = torch.arange(len(latents))
        noised = noised_latents(model, latents, turns, size=self.pool, bins=self.bins, seed=seed)
        parts = Batches(noised, self.batch_size, seed=seed)

        def missed(learned: Deltas) -> Tensor:
            part = next(parts)
            embeds = captions[part.prompts].with_tokens(learned["tokens"].to(captions.embeds))
            noise = model.predict_noise(part.latents, part.timesteps, embeds).float()
            errors = weights.to(noise)[part.prompts] * (noise - part.noise.float()).square()
            return errors.mean()

        tokens, stop = Matrices({"tokens": table}), MomentumStop.never()
        return Learner.of(tokens, missed, stop, rate=self.learning_rate, sources=[parts])


def _negative(model: Backend, learned: Sequence[_Tokens]) -> Tensor:
    """The negative prompt's rows: the words, then the tokens of all concepts as far as they fit."""
    words = ", ".join(tokens.word for tokens in learned)
    table = torch.cat([tokens.table for tokens in learned])
    embeds, end = model.encode((words,)).float().cpu(), text_end(model, words)
    return Captions.of(embeds, [end], [range(len(table))]).with_tokens(table)[0]
