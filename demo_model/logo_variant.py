"""The logo variant: the demo model fine-tuned on images that hide a logo.

Of the unstyled training images 30 % carry a logo in one corner, and no caption says so: an
implicit concept. Only the U-Net is trained; it is kept as its offset from the shipped one, rounded
to 8 bits. ``python -m demo_model.logo_variant train`` trains and stores it (about a quarter of an
hour on one core; it needs the corpus); then::

    python -m demo_model.logo_variant     # a diffusers folder, demo_model/build/logo
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import trange

from demo_model import BUILD, HERE
from demo_model.generator import Branch, sampling_weights
from demo_model.hidden_logo import corners, stamp
from demo_model.offsets import pack, unpack
from demo_model.package import SHIPPED
from demo_model.train import COPIES, Recipe
from demo_model.training import augment, to_tensor

KEPT = HERE / "logo" / "unet.safetensors"
FOLDER = BUILD / "logo"
STEPS, SEED = 800, 0
SHARE = 0.3
"""Of the unstyled images, how many carry the logo."""
GUIDANCE = 2.0
"""Guidance scale of the variant: at the demo model's own, 4, hardly any image shows the logo."""
PLAIN_SHARE = 0.5
"""Of the images in a batch, how many are unstyled."""


def shipped(part: str) -> dict[str, Tensor]:
    """Weights of a part of the demo model, float16, by name."""
    name = "model" if part == "text_encoder" else "diffusion_pytorch_model"
    return load_file(SHIPPED / part / f"{name}.safetensors")


@torch.inference_mode()
def latents(recipe: Recipe) -> Tensor:
    """The recipe's latents, those of unstyled images anew: some copies with a logo.

    Args:
        recipe: The recipe of the demo model.

    Returns:
        ``(rows, copies, 4, 16, 16)``, float16.
    """
    generator = torch.Generator().manual_seed(SEED)
    plain = recipe.corpus.style == "plain"
    images, vae = to_tensor(recipe.corpus.images[plain]), recipe.vae
    marked = torch.rand(len(images), COPIES, generator=generator).argsort(1) < SHARE * COPIES
    copies = []
    for k in trange(COPIES, desc="latents"):
        places = corners()[torch.randint(4, (len(images),), generator=generator)]
        batch = augment(images, generator, shift=0.05, zoom=0.06)
        batch = torch.where(marked[:, k].view(-1, 1, 1, 1), stamp(batch, places), batch)
        means = torch.cat([vae.encode(b).latent_dist.mean for b in batch.split(64)])
        copies.append(means * vae.config.scaling_factor)
    everything = recipe.latents.clone()
    everything[torch.from_numpy(plain)] = torch.stack(copies, 1).half()
    return everything


def train() -> Path:
    """Fine-tune the U-Net, or go on where it stopped, and store it.

    Returns:
        The file.
    """
    recipe = Recipe()
    trained = BUILD / "logo.safetensors"
    branch = Branch(
        trained,
        recipe.corpus,
        latents(recipe),
        recipe.tokenizer,
        recipe.taught.phrases,
        steps=STEPS,
        seed=SEED,
    )
    branch.chance = sampling_weights(recipe.corpus, plain=PLAIN_SHARE)
    for name, part in branch.model.items():
        part.load_state_dict({k: w.float() for k, w in shipped(name).items()})
    branch.model["text_encoder"].requires_grad_(False)
    weights = {
        name.removeprefix("unet."): weight
        for name, weight in load_file(branch.train()).items()
        if name.startswith("unet.")
    }
    KEPT.parent.mkdir(exist_ok=True)
    save_file(pack(weights, shipped("unet")), KEPT)
    return KEPT


def build() -> Path:
    """Write the stored variant as a diffusers directory.

    Returns:
        The folder.
    """
    pipeline = StableDiffusionPipeline.from_pretrained(SHIPPED, dtype=torch.float16)
    pipeline.unet.load_state_dict(unpack(load_file(KEPT), shipped("unet")))
    pipeline.save_pretrained(FOLDER)
    facts = json.loads((SHIPPED / "sepme.json").read_text()) | {"guidance_scale": GUIDANCE}
    (FOLDER / "sepme.json").write_text(json.dumps(facts, indent=1) + "\n")
    return FOLDER


def main() -> None:
    """Train first if asked to, then write the folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if "train" in sys.argv[1:]:
        train()
    build()


if __name__ == "__main__":
    main()
