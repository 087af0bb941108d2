"""Put a trained branch, the autoencoder and the detector together as the shipped pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, StableDiffusionPipeline

from demo_model.generator import Branch, build_scheduler
from demo_model.taught import Taught

SHIPPED = Path(__file__).parent.parent / "src" / "sepme" / "demo" / "weights"
GUIDANCE_SCALE = 4.0


def package(branch: Branch, vae: AutoencoderKL, taught: Taught, folder: Path = SHIPPED) -> None:
    """Write the pipeline in float16 with its ``sepme.json``; presets there are kept.

    Args:
        branch: A trained branch; its averaged weights are shipped.
        vae: The trained autoencoder.
        taught: What the branch was taught.
        folder: Where to.
    """
    branch.start_from(branch.weights_path)
    vae.register_to_config(_name_or_path="sepme-demo")  # else the path it was built in
    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=branch.model["text_encoder"].half(),
        tokenizer=branch.tokenizer,
        unet=branch.model["unet"].half(),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    sidecar = folder / "sepme.json"
    facts: dict[str, Any] = {"guidance_scale": GUIDANCE_SCALE, "presets": {}}
    if sidecar.exists():
        facts |= json.loads(sidecar.read_text())
    for group, concepts in taught.concepts.items():
        facts[group] = [concept.to_dict() for concept in concepts]
    sidecar.write_text(json.dumps(facts, indent=1) + "\n")
