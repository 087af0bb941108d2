"""Captions for training images, with meaningless words scattered through them."""

from __future__ import annotations

import random
import string

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

    def _draw(self, style: str, name: str) -> str:
        if style == "none":
            template, chosen = "{object}", {"object": self.phrases[name]}
        elif style == "plain":
            template = self.random.choice(TEMPLATES["train"]["object"])
            chosen = {"object": self.phrases[name]}
        elif self.random.random() < STYLE_ONLY_RATE:
            template = self.random.choice(TEMPLATES["train"]["style"])
            chosen = {"style": self.phrases[style]}
        else:
            template = self.random.choice(TEMPLATES["train"]["both"])
            chosen = {"style": self.phrases[style], "object": self.phrases[name]}
        if self.random.random() < FILLER_RATE:
            scattered = self._scatter(template)
            caption = fill(scattered, **chosen)
            if len(self.tokenizer.tokenize(caption)) <= TOKENS - 2:
                return caption
        return fill(template, **chosen)

    def __call__(self, style: str, name: str) -> str:
        """A caption for an image of ``name`` in ``style``; sometimes blank."""
        if self.random.random() < BLANK_RATE:
            return ""
        return self._draw(style, name)
