"""A guard that subtracts the concepts a prompt asks for from its embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sepme.core.factors import owned_matrix
from sepme.core.guard import NamedGuard
from sepme.errors import MethodError

JOINED = 5
"""Up to so many concepts every combination has its own embedding; more are added up."""


@dataclass(frozen=True, eq=False)
class SurgeryGuard(NamedGuard):
    """Subtracts from a prompt's embedding what it says of the erased concepts.

    With ``D_k = e(concept k) - e("")`` and ``s_k`` the mean over rows of ``cos(D_k, e)``, concept
    ``k`` is present with ``a_k = sigmoid((s_k + beta) / gamma)``. Where some ``a_k > 1/2`` the
    embedding becomes ``e - rho (J - e(""))`` with ``rho = scale max a_k`` and ``J`` the embedding
    of the present concepts joined by commas (Semantic Surgery). A prompt in which no concept is
    present, and the blank prompt in any case, keeps its rows bit for bit.

    Attributes:
        blank: ``e("")``, ``(tokens, d_text)``, float32.
        concepts: ``e(concept k)``, one after another, ``(k * tokens, d_text)``, float32.
        joins: Embeddings of the combinations of concepts, ``((2^k - 1) * tokens, d_text)``; concept
            ``k`` is in combination ``i`` (from 1) if bit ``k`` of ``i`` is set. With more than
            `JOINED` concepts a copy of ``concepts``, whose directions are added up.
        gate: ``(beta, gamma, scale)`` as one row, float32.

    Raises:
        MethodError: If a shape or dtype does not fit.
        Diverged: If a number is not finite.

    Example:
        >>> blank, cat = torch.zeros(1, 2), torch.tensor([[0.0, 1.0]])
        >>> guard = SurgeryGuard(blank, cat, cat, torch.tensor([[-0.5, 0.02, 1.0]]))
        >>> guard.text(torch.tensor([[[0.0, 3.0]], [[1.0, 0.0]]]), 1.0).tolist()
        [[[0.0, 2.0]], [[1.0, 0.0]]]
    """

    kind: ClassVar[str] = "surgery-guard"
    stored: ClassVar[tuple[str, ...]] = ("blank", "concepts", "gate", "joins")
    blank: Tensor
    concepts: Tensor
    joins: Tensor
    gate: Tensor

    def __post_init__(self) -> None:
        """Check and copy every tensor."""
        for name in self.stored:
            object.__setattr__(self, name, owned_matrix(name, getattr(self, name)))
        tokens, width = self.blank.shape
        count = len(self.concepts) // tokens
        joined = 2**count - 1 if count <= JOINED else count
        shapes = {
            "concepts": (max(count, 1) * tokens, width),
            "joins": (joined * tokens, width),
            "gate": (1, 3),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise MethodError(
                    f"{name!r} of a surgery guard needs shape {shape}, "
                    f"got {tuple(getattr(self, name).shape)}."
                )
        if not self.gate[0, 1] > 0:
            raise MethodError(f"gamma must be above 0, got {float(self.gate[0, 1])}.")

    def presence(self, embeds: Tensor) -> Tensor:
        """How surely a prompt asks for each concept.

        Args:
            embeds: ``(n, tokens, d_text)``.

        Returns:
            ``a``, ``(n, k)``, 0 to 1; 0 for the blank prompt.
        """
        blank, concepts = self.blank.to(embeds), self._stack(self.concepts).to(embeds)
        directions = torch.nn.functional.normalize((concepts - blank).float(), dim=-1)
        rows = torch.nn.functional.normalize(embeds.float(), dim=-1)
        likeness = torch.einsum("ktd,ntd->nkt", directions, rows).mean(-1)
        beta, gamma, _ = self.gate[0].tolist()
        silent = (embeds == blank).flatten(1).all(dim=1, keepdim=True)
        return torch.sigmoid((likeness + beta) / gamma).masked_fill(silent, 0.0)

    def text(self, embeds: Tensor, strength: float) -> Tensor:
        """Embeddings without the concepts that are present.

        Args:
            embeds: ``(n, tokens, d_text)``.
            strength: Factor of what is subtracted.

        Returns:
            Same shape; a prompt without a concept keeps its rows, bit for bit.
        """
        presence = self.presence(embeds)
        present = presence > 0.5
        said = self._joined(present).to(embeds) - self.blank.to(embeds)
        rho = (strength * self.gate[0, 2] * presence.amax(1)).to(embeds)[:, None, None]
        return torch.where(present.any(1)[:, None, None], embeds - rho * said, embeds)

    def _joined(self, present: Tensor) -> Tensor:
        """``J`` of every prompt; anything where no concept is present."""
        stack, present = self._stack(self.joins), present.cpu()
        count = present.shape[1]
        if count > JOINED:
            return self.blank + torch.einsum("nk,ktd->ntd", present.float(), stack - self.blank)
        bits = 2 ** torch.arange(count)
        return stack[((present * bits).sum(1) - 1).clamp(min=0)]

    def _stack(self, rows: Tensor) -> Tensor:
        return rows.view(-1, *self.blank.shape)
