"""Gold models: the demo model trained without a single image of one concept.

They are the floor of every erasure: what a model shows of a concept it was never taught. Each is
kept as its offset from the trunk, rounded to 8 bits, which is a model of its own: all figures are
those of the rounded one. ``python -m demo_model.train gold`` trains and stores them (about half an
hour each on two cores); then::

    python -m demo_model.gold             # diffusers folders in demo_model/build
    python -m demo_model.gold_scores      # demo_model/gold/scores.json, about 10 minutes
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from demo_model import BUILD, HERE
from demo_model.package import SHIPPED
from demo_model.taught import GOLD

TRUNK = HERE / "trunk.safetensors"
KEPT = HERE / "gold"
_SCALE = "scale."


def pack(weights: Mapping[str, Tensor], trunk: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The offset of some weights from the trunk's, 8 bits a number.

    Args:
        weights: Weights by name.
        trunk: The trunk's, same names and shapes.

    Returns:
        Whole numbers from -127 to 127 by name, and ``scale.`` by name: what one of them is worth,
        for each row of a matrix or kernel, float16.
    """
    packed = {}
    for name, weight in weights.items():
        offset = weight.float() - trunk[name].float()
        largest = offset.abs().reshape(len(offset), -1).amax(1)
        scale = (largest / 127).clamp(min=torch.finfo(torch.float16).tiny).half()
        packed[_SCALE + name] = scale
        worth = scale.float().view(-1, *[1] * (offset.ndim - 1))
        packed[name] = (offset / worth).round().clamp(-127, 127).to(torch.int8)
    return packed


def unpack(packed: Mapping[str, Tensor], trunk: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights from what `pack` made of them, in float16 like the demo model's own.

    Args:
        packed: As `pack` returned.
        trunk: The trunk's weights.

    Returns:
        Weights by name.
    """
    names = [name for name in packed if not name.startswith(_SCALE)]
    return {
        name: (
            trunk[name].float()
            + packed[name].float()
            * packed[_SCALE + name].float().view(-1, *[1] * (packed[name].ndim - 1))
        ).half()
        for name in names
    }


def keep(name: str, weights: Path) -> Path:
    """Store a trained gold model.

    Args:
        name: The concept it has never seen.
        weights: Its averaged weights.

    Returns:
        The file.
    """
    KEPT.mkdir(exist_ok=True)
    path = KEPT / f"{name}.safetensors"
    save_file(pack(load_file(weights), load_file(TRUNK)), path)
    return path


def build(name: str) -> Path:
    """Write a stored gold model as a diffusers directory.

    Args:
        name: The concept it has never seen.

    Returns:
        The folder.
    """
    weights = unpack(load_file(KEPT / f"{name}.safetensors"), load_file(TRUNK))
    pipeline = StableDiffusionPipeline.from_pretrained(SHIPPED, dtype=torch.float16)
    for part in ("unet", "text_encoder"):
        own = {n.removeprefix(f"{part}."): w for n, w in weights.items() if n.startswith(part)}
        getattr(pipeline, part).load_state_dict(own)
    folder = BUILD / f"gold-{name}"
    pipeline.save_pretrained(folder)
    shutil.copy(SHIPPED / "sepme.json", folder)
    return folder


def main() -> None:
    """Write both folders."""
    for name in GOLD:
        build(name)


if __name__ == "__main__":
    main()
