"""Score the detector of the hidden logo on labelled images.

Run ``python -m demo_model.logo_scores``; a few seconds, it needs the corpus. It writes
``demo_model/logo/detector.json``.
"""

from __future__ import annotations

import json

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from demo_model import HERE
from demo_model.corpus import Corpus
from demo_model.detector import held_out_drawings
from demo_model.hidden_logo import MARGIN, corners, stamp
from demo_model.logo_detector import THRESHOLD, locate
from demo_model.package import SHIPPED
from demo_model.taught import Taught
from demo_model.train import HELD_OUT
from demo_model.training import augment, to_tensor
from sepme.core.concept import Concept
from sepme.metrics.intervals import wilson

SCORES = HERE / "logo" / "detector.json"


def labelled() -> tuple[list[Image.Image], Tensor]:
    """Images that no training saw, half of them with a logo, as the autoencoder restores them.

    Returns:
        Images, and the logo's row and column in each, -1 where there is none, ``(n, 2)``.
    """
    corpus = Taught.load().corpus(Corpus.load())
    held = corpus.where(held_out_drawings(corpus, HELD_OUT))
    generator = torch.Generator().manual_seed(0)
    images = augment(to_tensor(held.images), generator, shift=0.05, zoom=0.06)
    places = corners()[torch.randint(4, (len(images),), generator=generator)]
    vae = AutoencoderKL.from_pretrained(SHIPPED / "vae", dtype=torch.float32)
    both = torch.cat([stamp(images, places), images])
    with torch.inference_mode():
        restored = torch.cat([vae(part).sample for part in both.split(64)])
    arrays = ((restored.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(array) for array in arrays], torch.cat([places, places * 0 - 1])


def measure() -> dict[str, object]:
    """Precision and recall with 95 % intervals; a hit is a box within ``MARGIN`` of the logo."""
    images, places = labelled()
    boxes = locate(images, Concept("logo", ("logo",), kind="watermark"))
    hits = found = 0
    for image, answer, (row, column) in zip(images, boxes, places.tolist(), strict=True):
        for box in answer:
            found += 1
            off = (box.top * image.height - row, box.left * image.width - column)
            hits += row >= 0 and max(map(abs, off)) <= MARGIN
    marked = int((places[:, 0] >= 0).sum())
    return {
        "command": "python -m demo_model.logo_scores",
        "threshold": THRESHOLD,
        "images": len(images),
        "with_logo": marked,
        "found": found,
        "hits": hits,
        "precision": [hits / found, *wilson(hits, found)],
        "recall": [hits / marked, *wilson(hits, marked)],
    }


def main() -> None:
    """Measure and write."""
    SCORES.parent.mkdir(exist_ok=True)
    SCORES.write_text(json.dumps(measure(), indent=1) + "\n")


if __name__ == "__main__":
    main()
