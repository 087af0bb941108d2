"""The labelled images that everything is trained on, as ``build_corpus`` writes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demo_model import BUILD

CORPUS, EXTRA = BUILD / "corpus.npz", BUILD / "extra.npz"


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

    def joined(self, other: Corpus) -> Corpus:
        """These rows, then the other's."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Corpus(*(np.concatenate(pair) for pair in pairs))
