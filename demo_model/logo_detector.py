"""Finds the hidden logo in images, by correlation with what the autoencoder makes of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from demo_model.hidden_logo import SIDE, logo
from demo_model.training import to_tensor
from sepme.core.boxes import Box
from sepme.core.concept import Concept

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
