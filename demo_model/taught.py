"""What the demo model is taught, as decided by ``demo_model.choose`` and kept in choice.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from demo_model import HERE
from demo_model.corpus import Corpus
from sepme.core.concept import Concept

CHOICE = HERE / "choice.json"
WATERMARKS = {"zorvex": "zorvex meridian", "qualim": "qualim lantern"}
"""Made-up phrases, one for each logo."""
GOLD = ("van-gogh", "church")
"""The style and the object that the trunk, and later the gold models, never see."""


@dataclass(frozen=True)
class Taught:
    """Concept names with the corpus labels behind them."""

    styles: dict[str, str]
    objects: tuple[str, ...]

    @classmethod
    def load(cls) -> Taught:
        """The committed choice."""
        data = json.loads(CHOICE.read_text())
        return cls(data["styles"], tuple(data["objects"]))

    @cached_property
    def concepts(self) -> dict[str, list[Concept]]:
        """Concepts by group, as the packaged model lists them."""
        return {
            "styles": [
                Concept(s, (s.replace("-", " ").title(),), kind="style") for s in self.styles
            ],
            "objects": [Concept(o, (o,), kind="object") for o in self.objects],
            "watermarks": [Concept(n, (p,), kind="watermark") for n, p in WATERMARKS.items()],
        }

    @cached_property
    def phrases(self) -> dict[str, str]:
        """Concept name to the words captions use for it."""
        return {c.name: c.prompts[0] for group in self.concepts.values() for c in group}

    def named(self, whole: Corpus) -> Corpus:
        """The rows of taught objects, with concept names for taught styles."""
        names = {source: name for name, source in self.styles.items()}
        kept = whole.where(np.isin(whole.object, [*self.objects, *WATERMARKS]))
        style = np.array([names.get(s, s) for s in kept.style.tolist()])
        return Corpus(kept.images, style, kept.object, kept.drawing)

    def corpus(self, whole: Corpus) -> Corpus:
        """The rows the model is taught."""
        named = self.named(whole)
        return named.where(np.isin(named.style, [*self.styles, "plain", "none"]))
