"""Classifier guidance: a classifier of noised latents leads the erased model to the concept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, silu

from sepme.attacks._examples import drawn, new_examples, noised, plain_latents, split_at_name
from sepme.attacks._latents import LatentAttack, best_of, evenly
from sepme.core.attack import AttackResult, Noise, Sampling, Subject, Trial


@dataclass(frozen=True, kw_only=True)
class ClassifierGuidance(LatentAttack):
    """Lead every step by the gradient of a classifier that knows the concept at any noise.

    ``eps <- eps - sqrt(1 - abar_t) s grad log p(concept | x_t)``. The classifier is trained on
    images the original model draws: for the concept's prompts and the examples', and for the same
    prompts without the concept's name. One image for each of ``budget`` values of ``s``, in equal
    ratios from ``weakest`` to ``strongest``, until one succeeds. The fact ``accuracy`` is the
    classifier's, on its own images under other noise.

    Args:
        weakest: Smallest ``s`` (paper: 25).
        strongest: Largest ``s`` (paper: 193).
        images: Images of each class.
        training_steps: Steps of Adam (paper: 70 epochs).
        batch_size: Noised latents of each class a step.
        learning_rate: Of Adam.
        width: Channels of the classifier.

    Raises:
        SpecError: If a value is not above 0.

    Example:
        >>> ClassifierGuidance(images=8).images, ClassifierGuidance().unit
        (8, 'images')
    """

    name: ClassVar[str] = "classifier-guidance"
    paper: ClassVar[str] = "https://arxiv.org/abs/2505.17013"
    budget: ClassVar[int] = 6

    weakest: float = 25.0
    strongest: float = 193.0
    images: int = 32
    training_steps: int = 300
    batch_size: int = 32
    learning_rate: float = 1e-3
    width: int = 32

    def _run(self, trial: Trial, effort: int, seed: int) -> AttackResult:
        subject, scales = trial.subject, evenly(self.weakest, self.strongest, effort)
        net, accuracy = self._train(trial, seed)

        def draw(places: list[int], turn: int) -> Tensor:
            part = [trial.examples[place] for place in places]
            lead = guide(net, subject.alphas_cumprod, scales[turn])
            return drawn(subject, part, Sampling(steps=trial.steps, noise=lead))

        found = best_of(trial, effort, draw)
        facts = {"accuracy": accuracy}
        return AttackResult(found.flags, found.queries, facts=facts, curve=found.curve)

    def _train(self, trial: Trial, seed: int) -> tuple[ConceptNet, float]:
        """The classifier, and its share of right answers."""
        original, steps = trial.original, trial.steps
        tries = [new_examples(prompts, self.images, seed) for prompts in _prompts(trial)]
        classes = [plain_latents(original, examples, steps) for examples in tries]
        generator = Generator().manual_seed(seed)
        net = ConceptNet.seeded(classes[0].shape[1], self.width, seed)
        adam = torch.optim.Adam(net.parameters(), lr=self.learning_rate)
        for _ in range(self.training_steps):
            logits, truth = self._look(net, original, classes, generator)
            adam.zero_grad()
            binary_cross_entropy_with_logits(logits, truth).backward()  # type: ignore[no-untyped-call]
            adam.step()
        net.requires_grad_(False)
        logits, truth = self._look(net, original, classes, generator)
        return net, float(((logits > 0) == truth.bool()).float().mean())

    def _look(
        self, net: ConceptNet, original: Subject, classes: Sequence[Tensor], generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Logits of noised latents of both classes, and the truth."""
        size = (self.batch_size,)
        picks = [torch.randint(len(images), size, generator=generator) for images in classes]
        clean = torch.cat([images[pick] for images, pick in zip(classes, picks, strict=True)])
        levels = original.alphas_cumprod
        kept = levels[torch.randint(len(levels), (len(clean),), generator=generator)]
        noise = torch.randn(clean.shape, generator=generator)
        truth = torch.tensor([1.0, 0.0]).repeat_interleave(self.batch_size)
        return net(noised(clean, noise, kept), kept), truth


class ConceptNet(nn.Module):
    """A small convolutional classifier of noised latents that is told how noised they are."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(channels, width, 3, padding=1)
        self.level = nn.Linear(2, 2 * width)
        self.outer = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.last = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.head = nn.Linear(2 * width, 1)

    @classmethod
    def seeded(cls, channels: int, width: int, seed: int) -> ConceptNet:
        """A new one that does not touch the global random state.

        Args:
            channels: Of the latents.
            width: Of the first layer.
            seed: Of the weights.

        Returns:
            The classifier.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(channels, width)

    def forward(self, latents: Tensor, kept: Tensor) -> Tensor:
        """Log-odds of the concept.

        Args:
            latents: ``(n, channels, height, width)``.
            kept: Their share of the signal, ``(n,)``.

        Returns:
            ``(n,)``.
        """
        level = self.level(torch.stack([kept.sqrt(), (1 - kept).sqrt()], dim=1))
        hidden = silu(self.inner(latents))
        hidden = silu(self.outer(hidden) + level[:, :, None, None])
        hidden = silu(self.last(hidden))
        odds: Tensor = self.head(hidden.mean((2, 3)))[:, 0]
        return odds


def guide(net: nn.Module, levels: Tensor, scale: float) -> Noise:
    """What leads the sampler towards what a classifier says yes to.

    Args:
        net: Log-odds of noised latents and their share of the signal.
        levels: Share of the signal at each timestep.
        scale: ``s``.

    Returns:
        A replacement of the guided noise.
    """

    def lead(latents: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        kept = levels[timesteps]
        with torch.enable_grad():
            at = latents.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(logsigmoid(net(at, kept)).sum(), at)
        return noise - (1 - kept).sqrt().view(-1, 1, 1, 1) * scale * gradient

    return lead


def _prompts(trial: Trial) -> tuple[list[str], list[str]]:
    """Prompts that name the concept, and the same without its name."""
    concept = trial.concept
    naming = [*concept.prompts, *(example.prompt for example in trial.examples)]
    cuts = [split_at_name(prompt, concept) or ("", prompt, "") for prompt in naming]
    return naming, [" ".join(f"{before}{after}".split()) for before, _, after in cuts]
