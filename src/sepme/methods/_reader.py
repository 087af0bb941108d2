"""A text encoder that reads no prompt twice in a row of look-ups."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from sepme.core.backend import Encoder

KEPT = 256
"""Prompts whose rows are kept; at Stable Diffusion 1.x size 60 MB."""


class Reader:
    """Reads prompts with a model and keeps the rows of those it read last.

    What sentences say around a concept is the same for every concept, and where a phrase ends is
    told from prompts that are read anyway. A reader lives as long as one fit, during which the
    encoder does not change.

    Args:
        model: What reads them; one prompt at a time.

    Example:
        >>> import sepme
        >>> reader = Reader(sepme.load("demo"))
        >>> reader.encode(["a cat", "a dog", "a cat"]).shape, reader.read
        (torch.Size([3, 24, 240]), 2)
    """

    def __init__(self, model: Encoder) -> None:
        """Start with nothing read."""
        self._rows = lru_cache(maxsize=KEPT)(lambda prompt: model.encode((prompt,))[0])

    @property
    def read(self) -> int:
        """How many prompts the model was asked for."""
        return self._rows.cache_info().misses

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings of the prompts.

        Args:
            prompts: ``n`` prompts, at least one.

        Returns:
            ``(n, tokens, d_text)``.
        """
        return torch.stack([self._rows(prompt) for prompt in prompts])
