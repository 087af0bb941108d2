"""A world in which the truth is known: a model that paints labels, a detector that never errs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

STYLES = ("hokusai", "ink", "van-gogh")
OBJECTS = ("cat", "church", "dog", "house")
PLAIN, NONE, SIZE = "plain", "none", 16
Prompt = tuple[str, str]
Image = np.ndarray


def prompts(n: int, *, style: Sequence[str] = STYLES, thing: Sequence[str] = OBJECTS) -> list:
    """``n`` prompts, all pairs in turn."""
    pairs = list(product(style, thing))
    return [pairs[k % len(pairs)] for k in range(n)]


@dataclass(frozen=True)
class Model:
    """Paints style and object as two flat halves; what is erased it leaves out."""

    erased: frozenset[str] = frozenset()
    broken: str = ""
    broken_for: frozenset[str] = frozenset(STYLES + OBJECTS)

    def draw(self, batch: Sequence[Prompt], seed: int = 0) -> list[Image]:
        random = np.random.default_rng(seed)
        return [self._one(prompt, random) for prompt in batch]

    def _one(self, prompt: Prompt, random: np.random.Generator) -> Image:
        if self.broken and self.broken_for & set(prompt):
            if self.broken == "black":
                return np.zeros((SIZE, SIZE, 3), np.uint8)
            return random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        style, thing = (word if word not in self.erased else "" for word in prompt)
        image = np.empty((SIZE, SIZE, 3), np.uint8)
        image[: SIZE // 2] = 10 * (1 + STYLES.index(style)) if style else 200
        image[SIZE // 2 :] = 10 * (1 + OBJECTS.index(thing)) if thing else 240
        return image


def detect(images: Sequence[Image]) -> dict[str, list[str]]:
    """What each image shows, in the form of the demo's detector."""
    halves = [(image[: SIZE // 2], image[SIZE // 2 :]) for image in images]
    return {
        "style": [_read(top, STYLES, {200: PLAIN}) for top, _ in halves],
        "object": [_read(bottom, OBJECTS, {}) for _, bottom in halves],
    }


def _read(half: Image, names: Sequence[str], others: dict[int, str]) -> str:
    code = int(half.flat[0])
    known = others | {10 * (1 + k): name for k, name in enumerate(names)}
    return known.get(code, NONE) if (half == code).all() else NONE


def chunks(items: Sequence, size: int) -> Iterator[Sequence]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
