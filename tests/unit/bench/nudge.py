"""A method that fits nothing, and a detector that knows nothing: benchmarks in little time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from sepme import demo
from sepme.core.concept import Concept
from sepme.core.method import Method, from_paper
from tests.tiny import null_space_shift

ALGEBRA = {
    "concepts": ("ink", "fluent", "cat"),
    "least": 2,
    "steps": 1,
    "orders": 2,
    "toggles": 6,
}
"""Options of a small run of the algebra."""


@dataclass(frozen=True, kw_only=True)
class Nudge(Method):
    """Fits nothing: a random shift in the true null space."""

    name: ClassVar[str] = "nudge"
    paper: ClassVar[str] = "https://example.org"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "closed-form"
    separable: ClassVar[bool] = True
    restorable: ClassVar[str] = "each"
    cost: ClassVar[str] = "nothing"
    fits: ClassVar[list[str]] = []

    size: float = from_paper(1.0)

    def fit(self, model, concept: Concept, *, retain: Sequence[Concept] = (), seed: int = 0):
        self.fits.append(concept.name)
        return null_space_shift(model, concept, retain, seed=seed, size=self.size or 1.0)


class Careless(Nudge):
    """Retains nothing but what the model knows, and goes far."""

    name: ClassVar[str] = "careless"

    def fit(self, model, concept: Concept, *, retain: Sequence[Concept] = (), seed: int = 0):
        return null_space_shift(model, concept, seed=seed, size=20.0)


class Twice:
    """A detector that takes an image of even mean for the first label, else for the last."""

    def __init__(self) -> None:
        kinds = {"style": "style", "object": "object"}
        self.labels = {
            head: tuple(c.name for c in demo.concepts() if c.kind == kind)
            for head, kind in kinds.items()
        }

    def __call__(self, images) -> dict[str, list[str]]:
        places = [-(int(np.asarray(image).sum()) % 2) for image in images]
        return {head: [names[p] for p in places] for head, names in self.labels.items()}

    def features(self, images) -> torch.Tensor:
        return torch.tensor(np.stack([np.asarray(im) for im in images])).flatten(1).float()
