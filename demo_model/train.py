"""Train the demo model from the corpus; every stage resumes from ``demo_model/build``.

``python -m demo_model.train`` runs all stages; naming stages runs those only::

    python -m demo_model.train generator
    python -m demo_model.train detector package

The autoencoder and the tokenizer that are shipped and the trunk that is committed are used where
they are; delete ``vae`` and ``tokenizer`` in ``src/sepme/demo/weights`` and
``demo_model/trunk.safetensors`` to start from nothing.
"""

from __future__ import annotations

import logging
import sys
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from tqdm.auto import tqdm, trange
from transformers import CLIPTokenizer

from demo_model import BUILD, HERE
from demo_model.autoencoder import FOLDER as VAE_FOLDER
from demo_model.autoencoder import train_autoencoder
from demo_model.corpus import EXTRA, Corpus
from demo_model.detector import held_out_drawings, train_detector
from demo_model.detector_card import DETECTOR_SEED, DETECTOR_STEPS, detector_labels, write_detector
from demo_model.generator import Branch
from demo_model.gold import keep
from demo_model.package import SHIPPED, package
from demo_model.taught import GOLD, Taught
from demo_model.tokenizer import train_tokenizer
from demo_model.training import augment, to_tensor

TRUNK_STEPS, FINAL_STEPS, SEED = 3600, 4400, 0
TRUNK = HERE / "trunk.safetensors"
COPIES = 24
"""Augmented copies of every image whose latents are computed once."""
HELD_OUT = 2
"""Which drawing of each object generator and detector never see; see ``held_out_drawings``."""


class Recipe:
    """The stages of the training, each computed once and kept on disk."""

    def __init__(self) -> None:
        self.taught = Taught.load()
        self.whole = Corpus.load()

    @cached_property
    def corpus(self) -> Corpus:
        """What generator and detector train on: the taught rows without held-out drawings."""
        taught = self.taught.corpus(self.whole)
        return taught.where(~held_out_drawings(taught, HELD_OUT))

    @cached_property
    def vae(self) -> AutoencoderKL:
        """The autoencoder, trained on the whole corpus."""
        for folder in (VAE_FOLDER, SHIPPED / "vae"):
            if (folder / "config.json").exists():
                return AutoencoderKL.from_pretrained(folder, dtype=torch.float32).eval()
        return train_autoencoder(self.whole)

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        """The tokenizer; training it takes a second."""
        if (SHIPPED / "tokenizer" / "tokenizer.json").exists():
            return CLIPTokenizer.from_pretrained(SHIPPED / "tokenizer")
        words = {w for phrase in self.taught.phrases.values() for w in phrase.lower().split()}
        return train_tokenizer(sorted(words))

    @cached_property
    def latents(self) -> Tensor:
        """Latents ``(rows, copies, 4, 16, 16)`` of augmented copies; logos are not augmented."""
        path = BUILD / "latents.pt"
        if path.exists():
            return torch.load(path, weights_only=True)
        generator = torch.Generator().manual_seed(SEED)
        images = to_tensor(self.corpus.images)
        fixed = torch.from_numpy(self.corpus.style == "none").view(-1, 1, 1, 1)
        copies = []
        with torch.inference_mode():
            for _ in trange(COPIES, desc="latents"):
                batch = torch.where(
                    fixed, images, augment(images, generator, shift=0.05, zoom=0.06)
                )
                means = [self.vae.encode(b).latent_dist.mean for b in batch.split(64)]
                copies.append(torch.cat(means) * self.vae.config.scaling_factor)
        latents = torch.stack(copies, 1).half()
        torch.save(latents, path)
        return latents

    def branch(
        self, weights: Path, rows: np.ndarray, *, steps: int, constant: bool = False
    ) -> Branch:
        """A run of the generator's recipe on some rows of the corpus."""
        return Branch(
            weights,
            self.corpus.where(rows),
            self.latents[torch.from_numpy(rows)],
            self.tokenizer,
            self.taught.phrases,
            steps=steps,
            seed=SEED,
            constant=constant,
        )

    @cached_property
    def trunk(self) -> Branch:
        """The branch that has seen neither of the gold concepts."""
        unseen = (self.corpus.style == GOLD[0]) | (self.corpus.object == GOLD[1])
        return self.branch(TRUNK, ~unseen, steps=TRUNK_STEPS, constant=True)

    @cached_property
    def demo(self) -> Branch:
        """The branch that is shipped: everything, from the trunk on."""
        everything = np.ones(len(self.corpus.style), bool)
        return self.branch(BUILD / "demo.safetensors", everything, steps=FINAL_STEPS)

    def gold_branch(self, name: str) -> Branch:
        """The demo branch without a single row of one concept: the floor for erasing it."""
        seen = (self.corpus.style != name) & (self.corpus.object != name)
        return self.branch(BUILD / f"gold-{name}.safetensors", seen, steps=FINAL_STEPS)

    def generator(self) -> None:
        """Train trunk and demo model, unless they are done."""
        if not self.trunk.weights_path.exists():
            self.trunk.warm_up()
            self.trunk.train()
        if not self.demo.weights_path.exists():
            self.demo.start_from(self.trunk.weights_path)
            self.demo.train()

    def gold(self) -> None:
        """Train both gold models from the trunk, as the demo model was, and store them."""
        for name in GOLD:
            branch = self.gold_branch(name)
            if not branch.weights_path.exists():
                branch.start_from(self.trunk.weights_path)
                branch.train()
            keep(name, branch.weights_path)

    def detector(self) -> None:
        """Train the detector, judge it on what it never saw, and write it with its card."""
        shown = self.taught.named(self.whole.joined(Corpus.load(EXTRA)))
        shown = shown.where(~held_out_drawings(shown, HELD_OUT))
        with torch.inference_mode():
            batches = to_tensor(shown.images).split(64)
            restored = torch.cat([self.vae(b).sample for b in tqdm(batches, desc="restored")])
        net = train_detector(
            shown,
            detector_labels(self.taught),
            steps=DETECTOR_STEPS,
            seed=DETECTOR_SEED,
            restored=restored.clone(),
        )
        taught = self.taught.corpus(self.whole)
        write_detector(net, self.taught, taught, held_out_drawings(taught, HELD_OUT))

    def package(self) -> None:
        """Write the shipped pipeline."""
        package(self.demo, self.vae, self.taught)


def main() -> None:
    """Run the named stages, or all."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = Recipe()
    for stage in sys.argv[1:] or ("generator", "detector", "package"):
        getattr(recipe, stage)()


if __name__ == "__main__":
    main()
