"""The demo model's detector: which named style and which object an image shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

NONE = "none"
"""Label of an image that shows no style, or no object, the detector knows."""
PLAIN = "plain"
"""Label of an image in no named style."""


class _Residual(nn.Module):
    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width_in, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.skip = nn.Conv2d(width_in, width, 2, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


class DetectorNet(nn.Module):
    """Small residual network with a style head and an object head over shared features."""

    def __init__(self, styles: int, objects: int) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 256)
        self.trunk = nn.Sequential(
            *(_Residual(a, b) for a, b in pairwise(widths)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.style = nn.Linear(widths[-1], styles)
        self.object = nn.Linear(widths[-1], objects)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Style logits, object logits and features of ``(n, 3, 64, 64)`` pixels in -1..1."""
        features = self.trunk(pixels)
        return self.style(features), self.object(features), features


def pixels_of(images: Sequence[Image.Image], size: int = 64) -> Tensor:
    """PIL images as ``(n, 3, size, size)`` float32 in -1..1."""
    arrays = [
        np.asarray(im.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
        if im.size != (size, size)
        else np.asarray(im.convert("RGB"))
        for im in images
    ]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 127.5 - 1


class Detector:
    """Labels images; ``detector(images)`` gives ``{"style": [...], "object": [...]}``.

    Labels are :attr:`Concept.name` values, ``"plain"`` or ``"none"``. A watermark's logo is an
    object of its own, in style ``"none"``.
    """

    def __init__(self, net: DetectorNet, styles: Sequence[str], objects: Sequence[str]) -> None:
        self.net = net.eval()
        self.labels = {"style": tuple(styles), "object": tuple(objects)}

    @torch.inference_mode()
    def _run(self, images: Sequence[Image.Image], batch: int = 64) -> list[Any]:
        outputs = [self.net(chunk) for chunk in torch.split(pixels_of(images), batch)]
        return [torch.cat(parts) for parts in zip(*outputs, strict=True)]

    def __call__(self, images: Sequence[Image.Image]) -> dict[str, list[str]]:
        """The most probable style and object label of each image."""
        if not images:
            return {head: [] for head in self.labels}
        logits = dict(zip(("style", "object"), self._run(images), strict=False))
        return {
            head: [names[i] for i in logits[head].argmax(1).tolist()]
            for head, names in self.labels.items()
        }

    def features(self, images: Sequence[Image.Image]) -> Tensor:
        """Shared features ``(n, 256)``, the space of the feature distance."""
        return self._run(images)[2]  # type: ignore[no-any-return]


def load_detector(folder: Path) -> Detector:
    """Read a detector: ``model.safetensors`` and ``labels.json``.

    Args:
        folder: Where the two files are.

    Returns:
        The detector, in float32.
    """
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    net = DetectorNet(len(labels["style"]), len(labels["object"]))
    stored = load_file(folder / "model.safetensors")
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in stored.items()})
    return Detector(net, labels["style"], labels["object"])


def save_detector(detector: Detector, folder: Path) -> None:
    """Write a detector in float16.

    Args:
        detector: What to write.
        folder: Where to; made if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = detector.net.state_dict()
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    save_file({k: v.contiguous() for k, v in half.items()}, folder / "model.safetensors")
    labels = {head: list(names) for head, names in detector.labels.items()}
    (folder / "labels.json").write_text(json.dumps(labels, indent=1) + "\n", encoding="utf-8")
