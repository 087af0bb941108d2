"""From a directory, a hub id or a live pipeline to a backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DiffusionPipeline

from sepme.backends.quiet import quietly
from sepme.backends.sdxl import StableDiffusionXL
from sepme.backends.sidecar import Sidecar
from sepme.backends.stable_diffusion import StableDiffusion
from sepme.errors import BackendError


def load_backend(
    model: Any,  # noqa: ANN401 (a name, a path or a diffusers pipeline of whatever class)
    *,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    offline: bool = False,
) -> StableDiffusion:
    """Load a pipeline, or adopt a live one.

    A pipeline that is loaded here gets a DDIM scheduler and no safety checker; a live one keeps
    what it has, and stays the caller's object.

    Args:
        model: A diffusers directory, a hub id, or a live diffusers pipeline.
        device: Where to run, such as ``"cuda"``; None is the CPU, or where a live pipeline is.
        dtype: Of the weights; None is float32 whatever is stored, or a live pipeline's own.
        offline: Never ask a hub.

    Returns:
        The backend.

    Raises:
        BackendError: If there is no such model or it is not of a known family.
    """
    here = not isinstance(model, (str, Path)) or offline or Path(model).is_dir()
    with quietly(bars=not here):
        if isinstance(model, (str, Path)):
            pipeline = _read(str(model), dtype or torch.float32, offline)
            family = _family(pipeline)
            sidecar = Sidecar.read(Path(model), guidance_scale=family.guidance_scale)
        else:
            pipeline, family = model, _family(model)
            sidecar = Sidecar(guidance_scale=family.guidance_scale)
        if isinstance(pipeline, DiffusionPipeline) and (device or dtype):
            _move(pipeline, device, dtype)
        return family(pipeline, sidecar)


def _family(pipeline: Any) -> type[StableDiffusion]:  # noqa: ANN401 (anything the user may hand in)
    two = getattr(pipeline, "text_encoder_2", None) is not None
    return StableDiffusionXL if two else StableDiffusion


def _move(pipeline: DiffusionPipeline, device: str | None, dtype: torch.dtype | None) -> None:
    try:
        pipeline.to(device=device, dtype=dtype)
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA raises the latter
        reason = str(error).strip().splitlines()[0]
        raise BackendError(
            f"cannot move the model to {device or dtype}: {reason}. "
            "Leave out the device to run on the CPU."
        ) from error


def _read(source: str, dtype: torch.dtype, offline: bool) -> Any:  # noqa: ANN401 (diffusers' own)
    local = Path(source).is_dir()
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            source,
            dtype=dtype,
            local_files_only=offline or local,
            use_safetensors=True,
            safety_checker=None,
            requires_safety_checker=False,
        )
        config = {"clip_sample": False, **pipeline.scheduler.config}  # latents have no bounds
        pipeline.scheduler = DDIMScheduler.from_config(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise BackendError(
            f"cannot load {source!r}: {reason}. Expected a diffusers directory (one with "
            "model_index.json) or the id of a Stable Diffusion model on a hub."
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
