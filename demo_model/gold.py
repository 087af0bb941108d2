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
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from demo_model import BUILD, HERE
from demo_model.offsets import pack, unpack
from demo_model.package import SHIPPED
from demo_model.taught import GOLD

TRUNK = HERE / "trunk.safetensors"
KEPT = HERE / "gold"


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
