"""Time and memory of a fit, before it runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from sepme.core.method import Method

if TYPE_CHECKING:
    from sepme.pipeline import ErasedPipeline

_DRAWING_STEPS = 25


def fit_cost(model: ErasedPipeline, method: Method) -> tuple[float | None, float]:
    """What one fit costs on this machine, from one timed U-Net forward.

    Args:
        model: The model.
        method: The method, its hyper-parameters resolved.

    Returns:
        Seconds at most, without the early stop, None for a method without ``max_steps``; and
        megabytes (10^6 bytes), the model included.
    """
    steps = getattr(method, "max_steps", None)
    seconds = None if steps is None else _fit_seconds(model, method, int(steps))
    parts = [p for p in model.pipeline.components.values() if isinstance(p, torch.nn.Module)]
    numbers = sum(parameter.numel() for part in parts for parameter in part.parameters())
    sites = model.sites().values()
    pristine = sum(site.numel() for site in sites)
    learned = pristine * 4  # at most: factors, their gradient and Adam's two moments
    return seconds, (numbers + pristine + learned) * 4 / 1e6


def _fit_seconds(model: ErasedPipeline, method: Method, steps: int) -> float:
    batch, images = int(getattr(method, "batch_size", 1)), int(getattr(method, "images", 0))
    pool, predictions = int(getattr(method, "pool", 0)), int(getattr(method, "predictions", 1))
    forward = _forward_seconds(model, batch) / batch
    training = steps * batch * predictions * 3 * forward  # a backward costs about two forwards
    return training + (images * _DRAWING_STEPS * 2 + pool * 2) * forward


@torch.no_grad()
def _forward_seconds(model: ErasedPipeline, batch: int) -> float:
    config, embeds = model.pipeline.unet.config, model.encode([""]).expand(batch, -1, -1)
    shape = (batch, config.in_channels, config.sample_size, config.sample_size)
    latents = torch.zeros(shape, device=embeds.device, dtype=embeds.dtype)
    timesteps = torch.zeros(batch, dtype=torch.long, device=embeds.device)
    model.predict_noise(latents, timesteps, embeds)  # the first one warms up
    started = time.perf_counter()
    model.predict_noise(latents, timesteps, embeds)
    return time.perf_counter() - started
