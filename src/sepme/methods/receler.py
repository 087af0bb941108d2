"""Receler: small erasers after cross-attention, local and trained against adversarial prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from sepme.core.backend import Backend
from sepme.core.bottleneck_guard import BottleneckGuard
from sepme.core.concept import BLANK, Concept
from sepme.core.method import from_paper
from sepme.methods._adversary import Search, adversarial
from sepme.methods._attention import for_layer
from sepme.methods._bases import Unconstrained
from sepme.methods._batches import Batches, Draw, Rows, Turns
from sepme.methods._changes import Change, Deltas
from sepme.methods._descent import Learner
from sepme.methods._pools import noised_images, pristine_noise
from sepme.methods._regions import concept_masks
from sepme.methods._spans import text_end
from sepme.methods._training import MomentumStop


@dataclass(frozen=True, kw_only=True)
class Receler(Unconstrained):
    """Train a small network after every cross-attention layer; no weight is changed.

    With the erasers on, the model is drawn away from the concept, ``||eps(x_t, e) - [eps0(x_t) -
    eta (eps0(x_t, c) - eps0(x_t))]||^2``, under the prompt ``e`` that brings the most of it back:
    the concept's tokens followed by free embeddings that lower ``||eps(x_t, e) - eps0(x_t, c)||^2``
    (adversarial prompt learning). What the erasers add outside of where the concept is drawn is
    held down (concept-localized regularization). They act on every prompt, so none is left alone
    for certain, and several concepts, drawn at random for each step, share one guard.

    Args:
        guidance: eta, the strength of negative guidance (paper: 1).
        rank: Width of an eraser, at most that of its layer (paper: 128).
        locality: Weight of the regularization (paper: 0.1); 0 for none.
        threshold: Least attention of a pixel where the concept is drawn (paper: 0.1).
        adversarial_tokens: Free embeddings, as far as they fit the text window (paper: 16).
        adversarial_steps: Steps on them before each step of the erasers (paper: 50); 0 for none.
        adversarial_rate: Learning rate of these steps (paper: 0.1).
        adversarial_decay: Their weight decay (paper: 0.1).
        learning_rate: Of Adam, for the erasers (paper: 3e-4).
        max_steps: Steps of the erasers for each concept; there is no early stop (paper: 500).
        batch_size: Noised latents a step (paper: 1).
        images: Images the pristine model draws for each concept.
        pool: Noised latents made from them.
        bins: DDIM bins the timesteps are drawn from.
        target_modules: Layers followed by an eraser, a regular expression for the module path;
            each must put out one row for every pixel.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = Receler(adversarial_steps=4).resolve()
        >>> chosen.rank, chosen.locality, chosen.adversarial_steps
        (128, 0.1, 4)
    """

    name: ClassVar[str] = "receler"
    paper: ClassVar[str] = "https://arxiv.org/abs/2311.17717"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "guard"
    separable: ClassVar[bool] = False
    restorable: ClassVar[str] = "all concepts of one guard together, exactly"
    cost: ClassVar[str] = "hundreds of steps, 51 U-Net forwards and backwards each"
    guidance: float = from_paper(1.0, above=0)
    rank: int = from_paper(128, above=0)
    locality: float = from_paper(0.1, least=0)
    threshold: float = from_paper(0.1, least=0, most=1)
    adversarial_tokens: int = from_paper(16, above=0)
    adversarial_steps: int = from_paper(50, least=0)
    adversarial_rate: float = from_paper(0.1, above=0)
    adversarial_decay: float = from_paper(0.1, least=0)
    learning_rate: float = from_paper(3e-4, above=0)
    max_steps: int = from_paper(500, above=0)
    target_modules: str = from_paper(r".*\.attn2\.to_out\.0")

    @property
    def predictions(self) -> int:  # type: ignore[override]
        """Times a step evaluates the U-Net on each of its noised latents."""
        return 1 + self.adversarial_steps

    def _change(self, sites: Mapping[str, Tensor], seed: int) -> _Erasers:
        return _Erasers.closed(sites, self.rank, seed)

    def _learner(
        self, model: Backend, change: Change, others: Mapping[Concept, Sequence[Concept]], seed: int
    ) -> Learner:
        lessons = [self._lessons(model, concept, seed) for concept in others]
        draw = Draw(seed)

        def unlearning(deltas: Deltas) -> Tensor:
            turn = int(torch.randint(len(lessons), (1,), generator=draw))
            return self._loss(model, next(lessons[turn]), deltas, draw)

        stop, sources = MomentumStop.never(), (Turns(lessons), draw)
        return Learner.of(change, unlearning, stop, rate=self.learning_rate, sources=sources)

    def _loss(
        self, model: Backend, lesson: _Lesson, deltas: Deltas, draw: torch.Generator
    ) -> Tensor:
        """What is left to unlearn under the prompt that brings the most back."""
        embeds = self._attack(model, lesson, deltas, draw)
        erasers = _Watched.from_tensors(deltas)
        noise = lesson.predicted(model, embeds, erasers).float()
        spilled = spill(erasers.seen, lesson.mask)
        return mse_loss(noise, lesson.goal) + self.locality * spilled

    def _attack(
        self, model: Backend, lesson: _Lesson, deltas: Deltas, draw: torch.Generator
    ) -> Tensor:
        """The concept's prompts, with the embeddings after them that bring the most back."""
        still = _Watched.from_tensors({name: tensor.detach() for name, tensor in deltas.items()})
        search = Search(self.adversarial_steps, self.adversarial_rate, self.adversarial_decay)

        def predict(embeds: Tensor) -> Tensor:
            return lesson.predicted(model, embeds, still)

        return adversarial(lesson.embeds, lesson.free, lesson.concept, predict, search, draw)

    def _lessons(self, model: Backend, concept: Concept, seed: int) -> Batches[_Lesson]:
        """Endless batches of one concept."""
        options = {"images": self.images, "size": self.pool, "bins": self.bins, "seed": seed}
        drawn = noised_images(model, concept.prompts, **options)
        rows, blank = model.encode(concept.prompts), model.encode(BLANK.prompts)
        spans = [self._spans(text_end(model, p), rows.shape[1]) for p in concept.prompts]
        said, free = (torch.stack(part).to(rows.device) for part in zip(*spans, strict=True))
        at, embeds = (drawn.latents, drawn.timesteps), rows[drawn.prompts]
        there = pristine_noise(model, *at, embeds)
        away = pristine_noise(model, *at, blank.expand(self.pool, -1, -1))
        goal = away - self.guidance * (there - away)
        mask = concept_masks(model, *at, embeds, said[drawn.prompts], self.threshold)
        whole = _Lesson(*at, embeds, free[drawn.prompts], mask, there, goal)
        return Batches(whole, self.batch_size, seed=seed)

    def _spans(self, end: int, tokens: int) -> tuple[Tensor, Tensor]:
        """Which rows of a prompt say the concept, and which are free: 1 or 0, ``(tokens,)``."""
        row = torch.arange(tokens)
        free = (row >= end) & (row < end + self.adversarial_tokens)
        return ((row > 0) & (row < end)).float(), free.float()


@dataclass(frozen=True, slots=True, eq=False)
class _Lesson(Rows):
    """Noised images of a concept, and what the erasers are to make of them.

    Attributes:
        latents: ``x_t``, ``(n, channels, height, width)``.
        timesteps: ``(n,)``.
        embeds: The prompt each image was drawn for, ``(n, tokens, d_text)``.
        free: 1 for the rows after the concept's tokens that an adversary may choose, else 0.
        mask: 1 for the pixels where the concept is drawn, else 0, ``(n, height, width)``.
        concept: ``eps0(x_t, c)``, float32.
        goal: What is to be predicted instead, float32.
    """

    latents: Tensor
    timesteps: Tensor
    embeds: Tensor
    free: Tensor
    mask: Tensor
    concept: Tensor
    goal: Tensor

    def predicted(self, model: Backend, embeds: Tensor, erasers: BottleneckGuard) -> Tensor:
        """Noise that the model predicts with the erasers on."""
        return model.predict_noise(self.latents, self.timesteps, embeds, guards=[(erasers, 1.0)])


@dataclass(frozen=True, slots=True, eq=False)
class _Erasers:
    """The erasers while they are learned, by what `BottleneckGuard` calls their tensors."""

    parameters: Mapping[str, Tensor]

    @classmethod
    def closed(cls, sites: Mapping[str, Tensor], rank: int, seed: int) -> _Erasers:
        """Erasers that change nothing yet: random ways down, ways up of zeros."""
        draw, parameters = torch.Generator().manual_seed(seed), {}
        for site, weight in sites.items():
            width, device = len(weight), weight.device
            down = torch.randn(min(rank, width), width, generator=draw) / math.sqrt(width)
            parameters[f"down.{site}"] = down.to(device).requires_grad_()
            up = torch.zeros(width, len(down), device=device, requires_grad=True)
            parameters[f"up.{site}"] = up
        return cls(parameters)

    def deltas(self) -> dict[str, Tensor]:
        """The parameters themselves: erasers have no other form."""
        return dict(self.parameters)

    def payload(self) -> BottleneckGuard:
        """What has been learned so far."""
        return BottleneckGuard.from_tensors(self.parameters)


@dataclass(frozen=True, eq=False)
class _Watched(BottleneckGuard):
    """Erasers with gradients, which keep what they added in the last forward pass."""

    seen: dict[str, Tensor] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Take the tensors as they are."""

    def added(self, module: str, output: Tensor) -> Tensor:
        change = super().added(module, output)
        self.seen[module] = change
        return change


def spill(added: Mapping[str, Tensor], mask: Tensor) -> Tensor:
    """Mean square length of what is added outside a region, averaged over layers.

    Args:
        added: Layer to what is added to its output, ``(n, pixels, d_out)``.
        mask: 1 inside the region, else 0, ``(n, height, width)``.

    Returns:
        A scalar; a layer of which nothing is outside counts as 0.
    """
    lengths = []
    for change in added.values():
        outside = 1 - for_layer(mask, change.shape[1])
        squares = change.square().sum(dim=-1) * outside
        lengths.append((squares.sum(dim=1) / outside.sum(dim=1).clamp(min=1)).mean())
    return torch.stack(lengths).mean()
