"""Finds the hidden logo in images, by correlation with what the autoencoder makes of it.

``python -m demo_model.logo_detector`` measures it on labelled images and writes
``demo_model/logo/detector.json``; a few seconds, it needs the corpus.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from demo_model import HERE
from demo_model.build_corpus import Corpus
from demo_model.detector import held_out_drawings
from demo_model.hidden_logo import MARGIN, SIDE, corners, logo, stamp
from demo_model.package import SHIPPED
from demo_model.taught import Taught
from demo_model.train import HELD_OUT
from demo_model.training import augment, to_tensor
from sepme.core.boxes import Box
from sepme.core.concept import Concept
from sepme.metrics.intervals import wilson

SCORES = HERE / "logo" / "detector.json"
THRESHOLD = 0.75
"""Correlation from which on a place counts as the logo."""
FAINTEST = 0.15
"""Standard deviation, of pixels from -1 to 1, below which a place is too flat to be judged."""


def correlation(images: Tensor) -> Tensor:
    """Normalised cross-correlation of the logo with every place of an image.

    Args:
        images: ``(n, 3, h, w)``, -1 to 1.

    Returns:
        ``(n, h - SIDE + 1, w - SIDE + 1)``, -1 to 1.
    """
    mark = logo()
    mark = (mark - mark.mean()) / (mark - mark.mean()).norm()
    size = mark.numel()
    product = F.conv2d(images, mark[None])[:, 0]
    box = torch.ones(1, 3, SIDE, SIDE) / size
    mean, square = (F.conv2d(part, box)[:, 0] for part in (images, images.square()))
    spread = (square - mean.square()).clamp(min=FAINTEST**2).sqrt()
    return product / (spread * size**0.5)


def locate(images: Sequence[Image.Image], concept: Concept) -> list[list[Box]]:
    """The place of each image that is most like the logo, if it is enough like it.

    Args:
        images: Images of the demo model's size.
        concept: Not used: there is one logo.

    Returns:
        At most one box for each image; its confidence is the correlation.
    """
    pixels = to_tensor(np.stack([np.array(image.convert("RGB")) for image in images]))
    found = []
    for image, likeness in zip(pixels, correlation(pixels), strict=True):
        best, (height, width) = float(likeness.max()), image.shape[1:]
        row, column = divmod(int(likeness.argmax()), likeness.shape[1])
        edges = (column / width, row / height, (column + SIDE) / width, (row + SIDE) / height)
        found.append([Box(*edges, best)] if best >= THRESHOLD else [])
    return found


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
        "command": "python -m demo_model.logo_detector",
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
