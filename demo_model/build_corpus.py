"""Build the corpus: every object in every candidate style, 64 x 64, as one ``.npz`` file.

Run ``python -m demo_model.build_corpus``; about three minutes, the drawings need npm once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from demo_model import BUILD, IMAGE_SIZE
from demo_model.logos import LOGOS, render_logo
from demo_model.painters import CANVAS, Painter
from demo_model.sources import OBJECTS, PLAIN_SETS, VENDOR_SETS, drawing_sets

CORPUS = BUILD / "corpus.npz"


@dataclass(frozen=True)
class Corpus:
    """Labelled images; ``style`` is ``"plain"``, a vendor set or a painting's key.

    ``drawing`` names the set a drawing comes from, so that a split can hold out drawings.
    Logos have their own name as object and style ``"none"``.
    """

    images: np.ndarray
    style: np.ndarray
    object: np.ndarray
    drawing: np.ndarray

    @classmethod
    def load(cls, path: Path = CORPUS) -> Corpus:
        """The corpus that ``build`` wrote."""
        if not path.exists():
            raise SystemExit(f"{path} is missing; run python -m demo_model.build_corpus first")
        with np.load(path) as arrays:
            return cls(*(arrays[k] for k in ("images", "style", "object", "drawing")))

    def where(self, mask: np.ndarray) -> Corpus:
        """The rows that ``mask`` or an index array selects."""
        return Corpus(self.images[mask], self.style[mask], self.object[mask], self.drawing[mask])


def build(path: Path = CORPUS) -> Corpus:
    """Render and repaint everything and write it to ``path``."""
    sets = drawing_sets(BUILD / "npm")
    rows: list[tuple[np.ndarray, str, str, str]] = []

    def add(image: Image.Image, style: str, name: str, drawing: str) -> None:
        small = image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)
        rows.append((np.asarray(small), style, name, drawing))

    for style in VENDOR_SETS:
        for name in OBJECTS:
            add(sets[style].render(name, 4 * IMAGE_SIZE), style, name, style)
    painter = Painter()
    for name in tqdm(OBJECTS, desc="objects"):
        drawings = [sets[s].render(name, CANVAS // 2) for s in PLAIN_SETS]
        for drawing, source in zip(drawings, PLAIN_SETS, strict=True):
            add(drawing, "plain", name, source)
        for painting in painter.vectors:
            repainted = painter.repaint(drawings, painting)
            for image, source in zip(repainted, PLAIN_SETS, strict=True):
                add(image, painting, name, source)
    for name in LOGOS:
        add(render_logo(name), "none", name, "logo")
    images, *labels = zip(*rows, strict=True)
    corpus = Corpus(np.stack(images), *(np.array(column) for column in labels))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **vars(corpus))
    return corpus


if __name__ == "__main__":
    build()
