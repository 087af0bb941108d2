"""What attacks on latents share: effort, seeds, batches, tries until a success."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from sepme.core.attack import Access, Attack, AttackResult, Example, Sampling, Subject, Trial
from sepme.core.concept import Concept
from sepme.errors import SpecError, shown

if TYPE_CHECKING:
    from PIL.Image import Image

AT_ONCE = 8
"""Images drawn in one batch."""

Unit: TypeAlias = Literal["images", "steps"]
"""What effort is counted in."""

Draw: TypeAlias = Callable[[list[int], int], Tensor]
"""Places among the examples and the number of the turn to latents the subject decodes."""


class LatentAttack(Attack):
    """An attack with the sampler in hand; what it does is in ``_run``."""

    access: ClassVar[Access] = "image"
    unit: ClassVar[Unit] = "images"

    def __post_init__(self) -> None:
        """Refuse settings that are not above 0."""
        for declared in fields(self):  # type: ignore[arg-type]
            value = getattr(self, declared.name)
            for number in value if isinstance(value, tuple) else (value,):
                if not number > 0:
                    raise SpecError(f"{declared.name} must be above 0, got {shown(value)}.")

    def run(self, trial: Trial, *, budget: int | None = None, seed: int = 0) -> AttackResult:
        """Attack, as in the base class."""
        effort = self.budget if budget is None else budget
        if effort < 1:
            raise SpecError(f"the budget of {self.name} must be at least 1, got {shown(effort)}.")
        return self._run(trial, effort, seed) if trial.examples else AttackResult((), 0)

    @abstractmethod
    def _run(self, trial: Trial, effort: int, seed: int) -> AttackResult:
        """Attack at least one example."""

    def check_share(self, *names: str) -> None:
        """Refuse settings above 1."""
        for name in names:
            if getattr(self, name) > 1:
                raise SpecError(f"{name} must be at most 1, got {shown(getattr(self, name))}.")


def fresh_seed(example: Example, seed: int, turn: int = 0) -> int:
    """Seed of one try on an example: the same whatever else is attacked."""
    text = f"{seed}\n{turn}\n{example.seed}\n{example.prompt}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "big")


def batches(places: Iterable[int]) -> list[list[int]]:
    """Places in batches of `AT_ONCE`."""
    rest = list(places)
    return [rest[start : start + AT_ONCE] for start in range(0, len(rest), AT_ONCE)]


def evenly(low: float, high: float, count: int) -> list[float]:
    """``count`` numbers from low to high in equal ratios; the highest if only one is wanted."""
    if count == 1:
        return [high]
    return [low * (high / low) ** (k / (count - 1)) for k in range(count)]


@torch.no_grad()
def best_of(trial: Trial, turns: int, draw: Draw) -> AttackResult:
    """Draw each example up to ``turns`` times, until the judge sees the concept."""
    n, queries = len(trial.examples), 0
    fell: dict[int, int] = {}
    for turn in range(turns):
        for places in batches(place for place in range(n) if place not in fell):
            shows = trial.judge(trial.subject.decode(draw(places, turn)))
            queries += len(places)
            fell |= {place: turn + 1 for place, yes in zip(places, shows, strict=True) if yes}
    curve = [(float(k), sum(at <= k for at in fell.values()) / n) for k in range(1, turns + 1)]
    return AttackResult(tuple(place in fell for place in range(n)), queries, curve=tuple(curve))


@torch.no_grad()
def sweep(trial: Trial, settings: Sequence[float], draw: Draw) -> AttackResult:
    """Draw each example at each setting; the curve is the share at each, any success counts."""
    n = len(trial.examples)
    flags, curve = [False] * n, []
    for turn, setting in enumerate(settings):
        shows: list[bool] = []
        for places in batches(range(n)):
            shows += trial.judge(trial.subject.decode(draw(places, turn)))
        flags = [before or now for before, now in zip(flags, shows, strict=True)]
        curve.append((float(setting), sum(shows) / n))
    return AttackResult(tuple(flags), n * len(settings), curve=tuple(curve))


@torch.no_grad()
def trajectory(
    subject: Subject, examples: Sequence[Example], steps: int, stops: Sequence[int]
) -> list[Tensor]:
    """Latents of the plain sampler after some numbers of its steps, which must not fall.

    Returns:
        ``(n, channels, height, width)`` for each stop.
    """
    parts = []
    for places in batches(range(len(examples))):
        part = [examples[place] for place in places]
        embeds = subject.encode([example.prompt for example in part])
        latents, done, kept = subject.start_latents([example.seed for example in part]), 0, []
        for stop in stops:
            how = Sampling(steps=steps, start=done, stop=stop)
            latents, done = subject.sample(embeds, latents, how), stop
            kept.append(latents)
        parts.append(kept)
    return [torch.cat(rows) for rows in zip(*parts, strict=True)]


def drawn_images(subject: Subject, examples: Sequence[Example], steps: int) -> list[Image]:
    """The images a model draws for examples when nobody interferes."""
    (latents,) = trajectory(subject, examples, steps, [steps])
    return [
        image
        for places in batches(range(len(latents)))
        for image in subject.decode(latents[places])
    ]


def encoded(subject: Subject, images: Sequence[Image]) -> Tensor:
    """Latents of images, a batch at a time."""
    return torch.cat(
        [subject.encode_images([images[i] for i in part]) for part in batches(range(len(images)))]
    )


def noised(clean: Tensor, noise: Tensor, kept: Tensor) -> Tensor:
    """Latents ``x_t`` of clean ones; ``kept`` is their share of the signal, one or one a row."""
    share = kept.view(-1, 1, 1, 1)
    return share.sqrt() * clean + (1 - share).sqrt() * noise


@torch.no_grad()
def signal_levels(subject: Subject, steps: int) -> Tensor:
    """Share of the signal before each step of the sampler and after the last, ``(steps + 1,)``.

    The last is not in `alphas_cumprod`: schedules differ in it. The sampler itself tells, by what
    it makes of ones without noise.
    """
    levels = subject.alphas_cumprod[subject.timesteps(steps)]
    ones = torch.ones_like(subject.start_latents([0]))
    how = Sampling(
        steps=steps,
        start=steps - 1,
        guidance_scale=1.0,
        noise=lambda latents, t, noise: torch.zeros_like(noise),
    )
    grown = subject.sample(subject.encode([""]), ones, how).mean()
    return torch.cat([levels, (grown.square() * levels[-1]).clamp(max=1).view(1)])


def split_at_name(prompt: str, concept: Concept) -> tuple[str, str] | None:
    """A prompt before and after the concept's name; None if it does not name the concept."""
    for phrase in sorted(concept.prompts, key=len, reverse=True):
        match = re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", prompt, re.IGNORECASE)
        if match:
            return prompt[: match.start()], prompt[match.end() :]
    return None
