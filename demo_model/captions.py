"""Captions for training images, with meaningless words scattered through them."""

from __future__ import annotations

import random
import string

from torch import Tensor
from transformers import CLIPTokenizer

from demo_model.tokenizer import FILLERS, PIECES, TOKENS
from sepme.demo.templates import TEMPLATES, fill

BLANK_RATE, STYLE_ONLY_RATE, FILLER_RATE = 0.1, 0.25, 0.5


class Captioner:
    """Writes one caption for a labelled image; ``random`` is its only state."""

    def __init__(self, tokenizer: CLIPTokenizer, phrases: dict[str, str]) -> None:
        self.tokenizer = tokenizer
        self.phrases = phrases
        self.random = random.Random(0)

    def _unknown_word(self) -> str:
        letters = string.ascii_lowercase
        if self.random.random() < 0.5:
            return "".join(self.random.choices(letters, k=self.random.randint(1, 6)))
        return "".join(self.random.choices(PIECES, k=self.random.randint(1, 2)))

    def _scatter(self, caption: str) -> str:
        """Insert one to four fillers between the words of a template or around its slots."""
        words = caption.split()
        for _ in range(self.random.randint(1, 4)):
            word = (
                self.random.choice(FILLERS) if self.random.random() < 0.5 else self._unknown_word()
            )
            words.insert(self.random.randint(0, len(words)), word)
        return " ".join(words)

    def draw(self, style: str, name: str) -> tuple[str, tuple[bool, bool]]:
        """A caption for an image of ``name`` in ``style``, and whether it names style, object."""
        whole = style in ("plain", "none")
        alone = not whole and self.random.random() < STYLE_ONLY_RATE
        if style == "none":
            template = "{object}"
        else:
            slot = "object" if whole else "style" if alone else "both"
            template = self.random.choice(TEMPLATES["train"][slot])
        chosen = {"object": self.phrases[name], "style": self.phrases.get(style, "")}
        named = (not whole, not alone)
        if self.random.random() < FILLER_RATE:
            caption = fill(self._scatter(template), **chosen)
            if len(self.tokenizer.tokenize(caption)) <= TOKENS - 2:
                return caption, named
        return fill(template, **chosen), named

    def __call__(self, style: str, name: str) -> str:
        """A caption for an image of ``name`` in ``style``; sometimes blank."""
        if self.random.random() < BLANK_RATE:
            return ""
        return self.draw(style, name)[0]

    def encode(self, captions: list[str]) -> Tensor:
        """Token ids ``(n, tokens)``."""
        tokens = self.tokenizer(
            captions, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        )
        ids: Tensor = tokens.input_ids
        return ids
