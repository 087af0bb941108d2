"""Which neurons carry a concept: before erasure, after it, and while it is learned again.

After Lo, Cohen and Barez, *Large Language Models Relearn Removed Concepts* (2024). A neuron is a
channel of the output of a residual block, an attention or a feed-forward network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from sepme.core.attack import Sampling, Subject, Trial
from sepme.errors import SpecError

LAYERS = r".*\.(resnets\.\d+|attn1|attn2|ff)"
"""Modules whose output channels count as neurons."""

Responses = Mapping[str, Tensor]
"""What a prompt changes in each layer, ``(n, channels, places)``."""


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Fixed inputs under which models are compared.

    Attributes:
        latents: Noised latents ``x_t``, ``(n, channels, height, width)``.
        timesteps: ``(n,)``.
        embeds: Text embeddings of the concept, ``(n, tokens, d_text)``.
        blank: Those of the blank prompt, same shape.
    """

    latents: Tensor
    timesteps: Tensor
    embeds: Tensor
    blank: Tensor


@torch.no_grad()
def probe(trial: Trial, *, size: int = 16, seed: int = 0) -> Probe:
    """Noise images that the original model draws for the concept's prompts.

    Args:
        trial: Its original model draws.
        size: Images; timesteps are spread evenly over them.
        seed: Seed of images and noise.

    Returns:
        The probe.
    """
    subject, generator = trial.original, Generator().manual_seed(seed)
    prompts = [trial.concept.prompts[i % len(trial.concept.prompts)] for i in range(size)]
    seeds = torch.randint(2**31, (size,), generator=generator).tolist()
    embeds = subject.encode(prompts)
    clean = subject.sample(embeds, subject.start_latents(seeds), Sampling(steps=trial.steps))
    at = (torch.arange(size) * 2 + 1) * len(subject.alphas_cumprod) // (2 * size)
    kept = subject.alphas_cumprod[at].view(-1, 1, 1, 1)
    noise = torch.randn(clean.shape, generator=generator)
    noised = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    return Probe(noised, at, embeds, subject.encode([""] * size))


@contextmanager
def recorded(network: nn.Module, layers: str = LAYERS) -> Iterator[dict[str, Tensor]]:
    """Record outputs of layers, ``(n, channels, places)``, as the network runs.

    Args:
        network: Left as it was on exit.
        layers: A regular expression for whole module paths.

    Yields:
        Module path to last output.

    Raises:
        SpecError: If no module matches.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        by_channel = output if output.ndim == 4 else output.movedim(-1, 1)
        found[name] = by_channel.detach().flatten(2)

    hooks = [
        module.register_forward_hook(lambda _m, _i, output, name=name: keep(name, output))
        for name, module in network.named_modules()
        if re.fullmatch(layers, name)
    ]
    if not hooks:
        raise SpecError(f"layers {layers!r} matches no module of {type(network).__name__}.")
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def blank_outputs(original: Subject, given: Probe, layers: str = LAYERS) -> dict[str, Tensor]:
    """What every layer of the original model puts out under the blank prompt.

    Args:
        original: The original model.
        given: The same for every model.
        layers: As in `recorded`.

    Returns:
        Layer to ``(n, channels, places)``, in the order of computation.
    """
    with recorded(original.unet, layers) as found:
        original.predict_noise(given.latents, given.timesteps, given.blank)
    return found


@torch.no_grad()
def responses(subject: Subject, given: Probe, blank: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the concept's prompt changes in every layer, beside the original's blank prompt.

    Relative to the latter's root mean square. Training moves a model's own blank prompt too.

    Args:
        subject: The model.
        given: As in `blank_outputs`.
        blank: Of the original model, from `blank_outputs`.

    Returns:
        Layer to ``(n, channels, places)``, in the order of ``blank``.
    """
    with recorded(subject.unet, "|".join(map(re.escape, blank))) as found:
        subject.predict_noise(given.latents, given.timesteps, given.embeds)
    return {name: (found[name] - out) / out.square().mean().sqrt() for name, out in blank.items()}


def saliency(response: Tensor) -> Tensor:
    """Mean absolute response of each neuron.

    Args:
        response: ``(n, channels, places)``.

    Returns:
        ``(channels,)``, at least 0 (dimensionless).

    Example:
        >>> saliency(torch.tensor([[[1.0, -1.0], [0.0, 0.5]]]))
        tensor([1.0000, 0.2500])
    """
    return response.abs().mean((0, 2))


def recall(response: Tensor, original: Tensor) -> float:
    """How much of the original's response is there, ``<r, r0> / <r0, r0>``.

    Args:
        response: ``r`` of one layer.
        original: ``r0``, same shape.

    Returns:
        1 as in the original, 0 if nothing is left; not a number if the original has none.

    Example:
        >>> recall(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 0.0]))
        0.5
    """
    size = float(original.double().square().sum())
    return float((response.double() * original.double()).sum()) / size if size else math.nan


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation; equal values share the mean of their ranks.

    Args:
        a: ``(n,)``.
        b: Same shape.

    Returns:
        -1 to 1.

    Example:
        >>> round(rank_correlation(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([4.0, 3.0, 2.0])), 6)
        -1.0
    """
    return float(torch.corrcoef(torch.stack([_ranks(a), _ranks(b)]))[0, 1])


def _ranks(values: Tensor) -> Tensor:
    _, place, count = torch.unique(values, return_inverse=True, return_counts=True)
    middle: Tensor = count.cumsum(0) - (count - 1) / 2
    return middle.double()[place]


def overlap(a: Tensor, b: Tensor, part: float = 0.01) -> float:
    """Share of the top neurons of one model among the top neurons of another.

    Args:
        a: Saliency of each neuron, ``(n,)``.
        b: The same in another model.
        part: How many are the top, as a fraction of all; at least one.

    Returns:
        0 to 1; chance gives ``part``.

    Example:
        >>> overlap(torch.tensor([1.0, 9.0, 8.0]), torch.tensor([7.0, 9.0, 1.0]), part=2 / 3)
        0.5
    """
    count = max(1, round(part * len(a)))
    first, second = (set(values.topk(count).indices.tolist()) for values in (a, b))
    return len(first & second) / count


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """Where a concept is at one time, beside the original model.

    Attributes:
        mass: Mean saliency of each layer's neurons, in the order of computation.
        recall: `recall` of each layer.
        rank_correlation: Of all neurons' saliency with the original's.
        cosine: Of the same two vectors.
        overlap: Share of the original's top 1 % in the top 1 %.
    """

    mass: Mapping[str, float]
    recall: Mapping[str, float]
    rank_correlation: float
    cosine: float
    overlap: float


def compare(live: Responses, original: Responses) -> Moment:
    """Compare a model's responses with the original's, to the same probe."""
    found = {name: saliency(response) for name, response in live.items()}
    now = torch.cat(list(found.values()))
    then = torch.cat([saliency(original[name]) for name in found])
    return Moment(
        mass={name: float(values.mean()) for name, values in found.items()},
        recall={name: recall(live[name], original[name]) for name in found},
        rank_correlation=rank_correlation(now, then),
        cosine=float(torch.cosine_similarity(now, then, dim=0)),
        overlap=overlap(now, then),
    )
