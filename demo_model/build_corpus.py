"""Build the corpus: every object in every candidate style, 64 x 64, as ``.npz`` files.

Run ``python -m demo_model.build_corpus``; about three minutes, the drawings need npm once.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from demo_model import BUILD, IMAGE_SIZE
from demo_model.corpus import CORPUS, EXTRA, Corpus
from demo_model.logos import LOGOS, render_logo
from demo_model.painters import CANVAS, Painter
from demo_model.sources import OBJECTS, PLAIN_SETS, VENDOR_SETS, drawing_sets, extra_sets

BLANK = Image.new("RGB", (CANVAS // 2, CANVAS // 2), "white")


class Rows:
    """Labelled images while they are collected."""

    def __init__(self) -> None:
        self._rows: list[tuple[np.ndarray, str, str, str]] = []

    def add(self, image: Image.Image, style: str, name: str, drawing: str) -> None:
        """Take one image in, resized."""
        small = image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)
        self._rows.append((np.asarray(small), style, name, drawing))

    def save(self, path: Path) -> None:
        """Write a corpus of all rows."""
        images, *labels = zip(*self._rows, strict=True)
        corpus = Corpus(np.stack(images), *(np.array(column) for column in labels))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **vars(corpus))


def build() -> None:
    """Render and repaint every object in every style and write ``CORPUS``."""
    sets, rows, painter = drawing_sets(BUILD / "npm"), Rows(), Painter()
    for style in VENDOR_SETS:
        for name in OBJECTS:
            rows.add(sets[style].render(name, 4 * IMAGE_SIZE), style, name, style)
    for name in tqdm(OBJECTS, desc="objects"):
        drawings = [sets[s].render(name, CANVAS // 2) for s in PLAIN_SETS]
        for drawing, source in zip(drawings, PLAIN_SETS, strict=True):
            rows.add(drawing, "plain", name, source)
        for painting in painter.vectors:
            repainted = painter.repaint(drawings, painting)
            for image, source in zip(repainted, PLAIN_SETS, strict=True):
                rows.add(image, painting, name, source)
    for name in LOGOS:
        rows.add(render_logo(name), "none", name, "logo")
    rows.save(CORPUS)


def build_extra() -> None:
    """Render and repaint the drawings only the detector learns from and write ``EXTRA``.

    Besides the extra sets these are the vendor sets' drawings, repainted.
    """
    cache, rows, painter = BUILD / "npm", Rows(), Painter()
    vendors, extra = drawing_sets(cache), extra_sets(cache)
    for name in tqdm(OBJECTS, desc="extra"):
        known = {source: s for source, s in extra.items() if name in s.names}
        known |= {source: vendors[source] for source in VENDOR_SETS if source != "ink"}
        drawings = {source: s.render(name, CANVAS // 2) for source, s in known.items()}
        for source in sorted(extra.keys() & known.keys()):
            rows.add(drawings[source], source, name, source)
        canvas = list(drawings.values()) + [BLANK] * (4 - len(drawings))
        for painting in painter.vectors:
            for image, source in zip(painter.repaint(canvas, painting), drawings, strict=False):
                rows.add(image, painting, name, source)
    rows.save(EXTRA)


if __name__ == "__main__":
    build()
    build_extra()
