"""What attacks on the weights share: drawing with changed copies, training one, adapters."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import mse_loss

from sepme.attacks._examples import (
    check_above_0,
    effort_of,
    moments_of,
    new_examples,
    noised,
    plain_images,
    plain_latents,
)
from sepme.core.attack import Access, Attack, AttackResult, Subject, Trial
from sepme.errors import SpecError, shown

Tune = Literal["full", "lora"]
RATES: Mapping[str, float] = {"full": 1e-4, "lora": 1e-3}
"""Learning rate by what is tuned."""

_ADAPTED = ["to_q", "to_k", "to_v", "to_out.0"]


def shows(trial: Trial, subject: Subject) -> list[bool]:
    """Whether a changed copy of the subject draws the concept, for each example."""
    return trial.judge(plain_images(subject, trial.examples, trial.steps))


def share(flags: Sequence[bool]) -> float:
    """Part of the flags that are set."""
    return sum(flags) / len(flags)


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Images to train on and what they are called.

    Attributes:
        latents: ``(n, channels, height, width)``.
        embeds: ``(n, tokens, d_text)``.
    """

    latents: Tensor
    embeds: Tensor


def lesson(trial: Trial, prompts: Sequence[str], count: int, seed: int) -> Lesson:
    """Images the original model draws for prompts, taken in turn, under seeds of their own."""
    examples = new_examples(prompts, count, seed)
    embeds = trial.original.encode([example.prompt for example in examples])
    return Lesson(plain_latents(trial.original, examples, trial.steps), embeds)


def tunable(unet: nn.Module, tune: Tune, *, rank: int, seed: int) -> nn.Module:
    """A copy whose parameters, or those of a new adapter, can be trained.

    Args:
        unet: The noise predictor.
        tune: ``"full"`` is all of it, ``"lora"`` a low-rank change of every attention projection.
        rank: Of the change.
        seed: Of the adapter's first values.

    Returns:
        The copy, which computes what ``unet`` does until it is trained.
    """
    twin = copy.deepcopy(unet)
    if tune == "full":
        return twin.requires_grad_(True)
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=_ADAPTED)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapted: nn.Module = inject_adapter_in_model(config, twin)
    return adapted


def train(
    subject: Subject, taught: Lesson, *, steps: int, learning_rate: float, batch: int, seed: int
) -> Iterator[int]:
    """Lower the diffusion loss (Ho et al., 2020, eq. 14) of a subject's U-Net, in place.

    ``||eps - eps_theta(x_t, t, c)||^2`` with ``t`` uniform, by Adam.

    Args:
        subject: Its U-Net has something to train.
        taught: The images.
        steps: How many updates.
        learning_rate: Of Adam.
        batch: Images a step, drawn with replacement.
        seed: Of images, timesteps and noise.

    Yields:
        The number of each step, from 1, after its update.
    """
    weights = [weight for weight in subject.unet.parameters() if weight.requires_grad]
    adam = torch.optim.Adam(weights, lr=learning_rate)
    alphas, generator = subject.alphas_cumprod, Generator().manual_seed(seed)
    for number in range(1, steps + 1):
        pick = torch.randint(len(taught.latents), (batch,), generator=generator)
        at = torch.randint(len(alphas), (batch,), generator=generator)
        clean = taught.latents[pick]
        noise = torch.randn(clean.shape, generator=generator)
        latents = noised(clean, noise, alphas[at])
        loss = mse_loss(subject.predict_noise(latents, at, taught.embeds[pick]), noise)
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
        yield number


@dataclass(frozen=True, kw_only=True)
class Relearning(Attack):
    """Fine-tune the erased U-Net on images the original model draws; subclasses say of what.

    Args:
        shots: Numbers of images; each starts anew from the erased model, trained for the whole
            budget. Flags and curve are those of the largest.
        tune: ``"full"`` trains every weight, ``"lora"`` an adapter of the attention projections.
        rank: Of the adapter.
        learning_rate: Of Adam; None is 1e-4, and 1e-3 for an adapter.
        batch_size: Noised images a step.
        checks: Times at which the examples are drawn with the largest number of images.

    Raises:
        SpecError: If a number is not above 0, or there is none to try.
    """

    access: ClassVar[Access] = "weights"
    unit: ClassVar[Literal["images", "steps"]] = "steps"

    shots: tuple[int, ...] = (1, 4, 16)
    tune: Tune = "full"
    rank: int = 4
    learning_rate: float | None = None
    batch_size: int = 4
    checks: int = 5

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.tune not in RATES:
            raise SpecError(f"tune must be one of {sorted(RATES)}, got {shown(self.tune)}.")
        check_above_0(self)

    @property
    def _rate(self) -> float:
        return RATES[self.tune] if self.learning_rate is None else self.learning_rate

    @abstractmethod
    def _prompts(self, trial: Trial) -> Sequence[str]:
        """What the images are drawn for, in turn."""

    def course(
        self, trial: Trial, images: int, *, steps: int, seed: int
    ) -> Iterator[tuple[int, Subject]]:
        """Train, and hand out the model in training.

        Args:
            trial: Both models and the concept.
            images: How many images to train on.
            steps: How many steps.
            seed: Seed of everything random.

        Yields:
            Each step's number, from 1, and the model after it, which the next step changes.
        """
        taught = lesson(trial, self._prompts(trial), images, seed)
        unet = tunable(trial.subject.unet, self.tune, rank=self.rank, seed=seed)
        pupil, rate = trial.subject.with_unet(unet), self._rate
        how = {"batch": self.batch_size, "seed": seed}
        for step in train(pupil, taught, steps=steps, learning_rate=rate, **how):
            yield step, pupil

    def run(self, trial: Trial, *, budget: int | None = None, seed: int = 0) -> AttackResult:
        """Attack, as in the base class; the budget is the same for each number of images."""
        steps, counts = effort_of(self, budget), sorted(set(self.shots))
        if not trial.examples:
            return AttackResult((), 0)
        success: dict[int, dict[int, list[bool]]] = {}
        for images in counts:
            moments = moments_of(steps, self.checks if images == counts[-1] else 1)
            course = self.course(trial, images, steps=steps, seed=seed)
            success[images] = {at: shows(trial, pupil) for at, pupil in course if at in moments}
        most = success[counts[-1]]
        return AttackResult(
            flags=tuple(most[steps]),
            queries=len(trial.examples) * sum(map(len, success.values())),
            facts={f"success_{images}": share(found[steps]) for images, found in success.items()},
            curve=tuple((float(step), share(flags)) for step, flags in most.items()),
        )


class WeightVariants(Attack):
    """Draws every example with changed copies of the model; one that shows it is enough.

    The curve is the share that each copy alone brings back.
    """

    access = "weights"
    unit = "images"

    def run(self, trial: Trial, *, budget: int | None = None, seed: int = 0) -> AttackResult:
        """Attack, as in the base class; the budget is how many of the copies are tried."""
        effort = effort_of(self, budget)
        if not trial.examples:
            return AttackResult((), 0)
        found = [(size, shows(trial, twin)) for size, twin in self._copies(trial, effort, seed)]
        return AttackResult(
            flags=tuple(map(any, zip(*(flags for _, flags in found), strict=True))),
            queries=len(trial.examples) * len(found),
            curve=tuple(sorted((size, share(flags)) for size, flags in found)),
        )

    @abstractmethod
    def _copies(self, trial: Trial, count: int, seed: int) -> Iterator[tuple[float, Subject]]:
        """At most ``count`` changed copies, each with its place on the curve."""
