"""What trained methods share: the momentum stop, cached frozen predictions, the progress bar."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from sepme.core.backend import Backend
from sepme.core.concept import BLANK, Concept
from sepme.core.record import Scalar
from sepme.errors import Diverged, SpecError

STOP_AFTER = 10
"""Steps that always run before the momentum stop may fire."""

_SMOOTHING = 0.9
"""Of a running loss that is shown and recorded but stops nothing."""

_AT_ONCE = 16
"""Frozen predictions made in one batch."""


@dataclass(frozen=True, slots=True)
class Step:
    """One optimisation step, as handed to ``on_step``.

    Attributes:
        number: Counted from 1.
        loss: Loss of this step, measured before its update (dimensionless).
        momentum: Running statistic that the stop compares with its threshold (dimensionless).
        stopped: Whether the momentum stop fired here.
    """

    number: int
    loss: float
    momentum: float
    stopped: bool


OnStep = Callable[[Step], None]


class MomentumStop:
    """Stop once the running loss has come down to a threshold (SRS-ME, eq. 37).

    ``L_mom`` starts at the first loss, then ``L_mom <- alpha L_mom + (1 - alpha) L``; the stop
    fires at the first step after the tenth with ``L_mom <= tau``.

    Args:
        decay: alpha, 0 to 1 (dimensionless).
        threshold: tau (dimensionless, in units of the loss); minus infinity never stops.
    """

    def __init__(self, decay: float, threshold: float) -> None:
        self.decay, self.threshold = decay, threshold
        self.momentum = math.nan
        self.steps = 0
        self.stopped = False

    @classmethod
    def never(cls) -> MomentumStop:
        """One that keeps the running loss and lets the fit take all its steps."""
        return cls(_SMOOTHING, -math.inf)

    def update(self, loss: float) -> Step:
        """Take in the loss of one step and tell where that leaves the fit.

        Args:
            loss: The loss.

        Returns:
            The step; training ends with the first that has ``stopped``.

        Raises:
            Diverged: If the loss is not a finite number.
        """
        self.steps += 1
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss became {loss} at step {self.steps}; expected a finite number. "
                "Try a tenth of the learning rate or of the scale."
            )
        first = self.steps == 1
        self.momentum = loss if first else self.decay * self.momentum + (1 - self.decay) * loss
        self.stopped = self.steps > STOP_AFTER and self.momentum <= self.threshold
        return Step(self.steps, loss, self.momentum, self.stopped)

    def facts(self) -> dict[str, Scalar]:
        """What is to be told of the training: steps, statistic, and whether the stop fired."""
        facts: dict[str, Scalar] = {"steps": self.steps, "momentum": self.momentum}
        return facts if self.threshold == -math.inf else facts | {"stopped": self.stopped}


@dataclass(frozen=True, slots=True, eq=False)
class Noised:
    """Noised latents of images that the pristine model draws for some prompts.

    Attributes:
        latents: ``x_t``, ``(n, channels, height, width)``.
        timesteps: ``(n,)``.
        noise: What was added, same shape as ``latents``.
        prompts: Which prompt each image was drawn for, ``(n,)``.
    """

    latents: Tensor
    timesteps: Tensor
    noise: Tensor
    prompts: Tensor

    def __getitem__(self, pick: Tensor) -> Noised:
        """The part at some indices."""
        parts = (self.latents, self.timesteps, self.noise, self.prompts)
        return Noised(*(part[pick.to(part.device)] for part in parts))


@dataclass(frozen=True, slots=True, eq=False)
class FrozenPool:
    """Noised latents of a concept with everything the pristine model says of them.

    Attributes:
        latents: ``x_t``, ``(n, channels, height, width)``.
        timesteps: ``(n,)``.
        embeds: The prompt each image was drawn for, ``(n, tokens, d_text)``.
        blank: ``eps(x_t, "")``, same shape as ``latents``, float32.
        representation: ``r_c = eps(x_t, c) - eps(x_t, "")`` (SRS-ME, eq. 27), float32.
    """

    latents: Tensor
    timesteps: Tensor
    embeds: Tensor
    blank: Tensor
    representation: Tensor

    def __len__(self) -> int:
        """Number of noised latents."""
        return len(self.latents)

    def __getitem__(self, pick: Tensor) -> FrozenPool:
        """The part at some indices."""
        parts = (self.latents, self.timesteps, self.embeds, self.blank, self.representation)
        return FrozenPool(*(part[pick.to(part.device)] for part in parts))


@torch.no_grad()
def noised_images(
    model: Backend, prompts: Sequence[str], *, images: int, size: int, bins: int, seed: int
) -> Noised:
    """Noise images the pristine model draws for some prompts, as `frozen_pool` describes."""
    images = min(images, size)
    turns = torch.arange(images) % len(prompts)
    asked = [prompts[turn] for turn in turns]
    drawn = model.draw_latents(asked, seeds=[seed + i for i in range(images)])
    return noised_latents(model, drawn, turns, size=size, bins=bins, seed=seed)


@torch.no_grad()
def noised_latents(
    model: Backend, drawn: Tensor, turns: Tensor, *, size: int, bins: int, seed: int
) -> Noised:
    """Noise latents of images, each in turn, at timesteps drawn as `frozen_pool` describes."""
    generator = torch.Generator().manual_seed(seed)
    pick = torch.arange(size) % len(turns)
    timesteps = _timesteps(size, bins, model.num_train_timesteps, generator).to(drawn.device)
    noise = torch.randn(size, *drawn.shape[1:], generator=generator).to(drawn)
    latents = model.add_noise(drawn[pick.to(drawn.device)], noise, timesteps)
    return Noised(latents, timesteps, noise, turns[pick].to(drawn.device))


@torch.no_grad()
def frozen_pool(
    model: Backend, concept: Concept, *, images: int, size: int, bins: int, seed: int
) -> FrozenPool:
    """Noise images the pristine model draws for a concept and record its predictions.

    Neither the blank noise nor the pristine representation changes while a shift is trained, so
    both are computed once, in batches.

    Args:
        model: The model.
        concept: Its prompts are drawn in turn.
        images: Images to draw, at most ``size`` of them.
        size: Noised latents to make from them.
        bins: Timesteps come from this many equal bins, one chosen at random, then uniformly
            inside it.
        seed: Seed of images, timesteps and noise.

    Returns:
        The pool.

    Raises:
        SpecError: If there are more bins than timesteps.
        Diverged: If the pristine model itself predicts numbers that are not finite.
    """
    noised = noised_images(model, concept.prompts, images=images, size=size, bins=bins, seed=seed)
    embeds = model.encode(concept.prompts)[noised.prompts]
    empty = model.encode(BLANK.prompts).expand(size, -1, -1)
    latents, timesteps = noised.latents, noised.timesteps
    blank, target = (pristine_noise(model, latents, timesteps, text) for text in (empty, embeds))
    if not torch.isfinite(blank).all() or not torch.isfinite(target).all():
        raise Diverged(
            f"the model as it is predicts numbers that are not finite for {concept.prompts[0]!r}. "
            "Load it in float32."
        )
    return FrozenPool(latents, timesteps, embeds, blank, target - blank)


def _timesteps(size: int, bins: int, total: int, generator: torch.Generator) -> Tensor:
    if bins > total:
        raise SpecError(f"bins must be at most the model's {total} timesteps, got {bins}.")
    width = total // bins
    chosen = torch.randint(bins, (size,), generator=generator)
    return chosen * width + torch.randint(width, (size,), generator=generator)


@torch.no_grad()
def pristine_noise(model: Backend, latents: Tensor, timesteps: Tensor, embeds: Tensor) -> Tensor:
    """What the pristine model predicts, in batches, float32."""
    parts = (torch.split(part, _AT_ONCE) for part in (latents, timesteps, embeds))
    return torch.cat([model.predict_noise(*part).float() for part in zip(*parts, strict=True)])


def batches(size: int, batch: int, *, seed: int) -> Iterator[Tensor]:
    """Endless index batches that visit all of ``range(size)`` before any comes again."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.long)
    while True:
        while len(order) < batch:
            order = torch.cat([order, torch.randperm(size, generator=generator)])
        yield order[:batch]
        order = order[batch:]


def parts(pool: FrozenPool, batch: int, *, seed: int) -> Iterator[FrozenPool]:
    """Endless batches of a pool, in the order of `batches`."""
    return (pool[pick] for pick in batches(len(pool), batch, seed=seed))


def run(steps: Iterable[Step], label: str, total: int, on_step: OnStep | None) -> Step | None:
    """Run steps to their end, showing loss, momentum and time, and calling ``on_step`` for each.

    Args:
        steps: A lazy optimisation, one item a step.
        label: Shown beside the bar.
        total: Steps at most.
        on_step: Called after every step; what it raises ends the optimisation.

    Returns:
        The last step, if there was any.
    """
    last = None
    with tqdm(steps, desc=label, total=total, unit="step", leave=False) as bar:
        for last in bar:
            bar.set_postfix(loss=f"{last.loss:.2e}", momentum=f"{last.momentum:.2e}", refresh=False)
            if on_step is not None:
                on_step(last)
    return last
