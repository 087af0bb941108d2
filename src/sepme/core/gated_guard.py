"""A guard that maps the rows of a prompt only if the prompt carries the concept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sepme.core.factors import owned_matrix
from sepme.core.guard import NamedGuard
from sepme.errors import MethodError


@dataclass(frozen=True, eq=False)
class GatedGuard(NamedGuard):
    """Adds a low-rank map to all rows of a prompt if one of them scores above a threshold.

    With ``s(e) = max_t w . e_t`` over the rows of a prompt, the model reads ``e + strength e M^T``,
    ``M = left right``, where ``s(e) > threshold``, and ``e`` itself, bit for bit, elsewhere.
    Several of them add up: each judges and maps the rows as they were before any guard.

    Attributes:
        discriminant: ``w``, ``(1, d_text)``, float32.
        left: ``(d_text, r)``, float32.
        right: ``(r, d_text)``, float32.
        threshold: ``(1, 1)``, float32, in units of the score.

    Raises:
        MethodError: If a shape or dtype does not fit.
        Diverged: If a number is not finite.

    Example:
        >>> x, y = torch.eye(2).split(1)
        >>> guard = GatedGuard(discriminant=x, left=-x.T, right=x, threshold=torch.tensor([[1.0]]))
        >>> guard.text(torch.tensor([[[2.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [0.5, 0.5]]]), 1.0)
        tensor([[[0.0000, 0.0000],
                 [0.0000, 0.5000]],
        <BLANKLINE>
                [[1.0000, 0.0000],
                 [0.5000, 0.5000]]])
    """

    kind: ClassVar[str] = "gated-text"
    stored: ClassVar[tuple[str, ...]] = ("discriminant", "left", "right", "threshold")
    discriminant: Tensor
    left: Tensor
    right: Tensor
    threshold: Tensor

    def __post_init__(self) -> None:
        """Check and copy every tensor."""
        for name in self.stored:
            object.__setattr__(self, name, owned_matrix(name, getattr(self, name)))
        rank, width = self.right.shape
        shapes = {"discriminant": (1, width), "left": (width, rank), "threshold": (1, 1)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise MethodError(
                    f"{name!r} of a gated map needs shape {shape}, "
                    f"got {tuple(getattr(self, name).shape)}."
                )

    def score(self, embeds: Tensor) -> Tensor:
        """How surely each prompt carries the concept.

        Args:
            embeds: ``(n, tokens, d_text)``.

        Returns:
            ``s``, ``(n,)``, float32 at least.
        """
        wide = _wide(embeds)
        return (wide @ self.discriminant[0].to(wide)).amax(1)

    def fires(self, embeds: Tensor) -> Tensor:
        """Which prompts the map acts on.

        Args:
            embeds: ``(n, tokens, d_text)``.

        Returns:
            ``(n,)``, bool.
        """
        return self.score(embeds) > float(self.threshold)

    def text(self, embeds: Tensor, strength: float) -> Tensor:
        """Embeddings with the prompts that carry the concept mapped.

        Args:
            embeds: ``(n, tokens, d_text)``.
            strength: Factor of the map; 0 changes no bit.

        Returns:
            Same shape; a prompt that does not fire keeps its rows, bit for bit.
        """
        return self.text_after(embeds, embeds, strength)

    def text_after(self, embeds: Tensor, given: Tensor, strength: float) -> Tensor:
        """The same where other guards acted before: what is added depends on ``given`` alone.

        Args:
            embeds: What the guards before this one made of ``given``.
            given: Text embeddings before any guard, ``(n, tokens, d_text)``.
            strength: Factor of the map; 0 changes no bit.

        Returns:
            Shape of ``embeds``.
        """
        if strength == 0:
            return embeds
        wide = _wide(given)
        change = strength * (wide @ self.right.T.to(wide) @ self.left.T.to(wide))
        mapped = (embeds + change).to(embeds.dtype)
        return torch.where(self.fires(given)[:, None, None], mapped, embeds)


def _wide(embeds: Tensor) -> Tensor:
    return embeds.to(torch.promote_types(embeds.dtype, torch.float32))
