"""A guard that steers every image away from something, as a negative prompt does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sepme.core.factors import owned_matrix
from sepme.core.guard import NamedGuard
from sepme.errors import MethodError

_ALIKE = 1e-3
"""Rows that differ by less than this share of the largest number are the same prompt's."""


@dataclass(frozen=True, eq=False)
class NegativeGuard(NamedGuard):
    """Puts an embedding of its own where classifier-free guidance reads the blank prompt.

    Guidance predicts noise twice, ``eps(x, u) + s (eps(x, c) - eps(x, u))``, with ``u`` the
    unconditional half of the batch. Where all of that half is ``e("")`` it becomes
    ``e("") + strength (n - e(""))``, so the image is steered away from ``n``; the other half, the
    prompts, keeps every bit. Without guidance nothing changes, nor does it under a negative
    prompt of the user's own, which stands where ``n`` would.

    Attributes:
        blank: ``e("")``, ``(tokens, d_text)``, float32.
        negative: ``n``, same shape.

    Raises:
        MethodError: If a shape or dtype does not fit.
        Diverged: If a number is not finite.

    Example:
        >>> guard = NegativeGuard(torch.zeros(1, 2), torch.ones(1, 2))
        >>> guard.text(torch.tensor([[[0.0, 0.0]], [[0.0, 3.0]]]), 1.0).tolist()
        [[[1.0, 1.0]], [[0.0, 3.0]]]
    """

    kind: ClassVar[str] = "negative-guard"
    stored: ClassVar[tuple[str, ...]] = ("blank", "negative")
    guided_only: ClassVar[bool] = True
    blank: Tensor
    negative: Tensor

    def __post_init__(self) -> None:
        """Check and copy both tensors."""
        for name in self.stored:
            object.__setattr__(self, name, owned_matrix(name, getattr(self, name)))
        if self.negative.shape != self.blank.shape:
            raise MethodError(
                f"'negative' needs the shape of 'blank', {tuple(self.blank.shape)}, "
                f"got {tuple(self.negative.shape)}."
            )

    def text(self, embeds: Tensor, strength: float) -> Tensor:
        """Embeddings with another unconditional half.

        Args:
            embeds: ``(2 n, tokens, d_text)``, the unconditional half first.
            strength: How far to go from the blank prompt to the negative one.

        Returns:
            Same shape; the second half keeps every bit.
        """
        without, prompts = embeds.chunk(2)
        blank, negative = self.blank.to(embeds), self.negative.to(embeds)
        if (without - blank).abs().max() > _ALIKE * blank.abs().max():
            return embeds
        return torch.cat([without + strength * (negative - blank), prompts])
