"""Sufficient statistics of concepts, read once and kept where somebody remembers them."""

from __future__ import annotations

import torch
from torch import Tensor

from sepme.core.backend import Backend
from sepme.core.concept import BLANK, Concept
from sepme.core.memory import memory
from sepme.core.record import sha256_of, versions
from sepme.linalg.text_system import Moments
from sepme.methods._anchoring import moved, still
from sepme.methods._reader import Reader


class Statistics:
    """What a text system needs to know of concepts: few rows that stand for all of theirs.

    They do not depend on what else is known. Numbers have the precision of float32 whether they
    were read or remembered, so that a fit is the same either way.

    Args:
        model: What reads prompts.
        sentences: Everyday sentences for each concept besides its own prompts.
        most: Rows that stand for a concept at most; 0 for all.

    Attributes:
        reader: Reads prompts, none twice in a row.
    """

    def __init__(self, model: Backend, *, sentences: int, most: int) -> None:
        """Read nothing but the blank prompt, which tells how the model reads."""
        self.reader = Reader(model)
        self._sizes = {"sentences": sentences, "most": most}
        blank = self.reader.encode(BLANK.prompts)
        self._width = blank.shape[-1]
        self._circumstances = {
            "base": model.fingerprint,
            "device": blank.device.type,
            "dtype": str(blank.dtype),
            "autocast": torch.is_autocast_enabled(blank.device.type),
            "versions": versions("sepme", "torch", "transformers"),
            **self._sizes,
        }

    def moved(self, concept: Concept, *, weight: float) -> Moments:
        """Rows that are to move, and where.

        Where statistics are remembered, those of the same rows in place are too: the prompts are
        at hand now, and whatever is erased later leaves them alone.

        Args:
            concept: The concept.
            weight: How often they count.

        Raises:
            MethodError: As `sepme.methods._anchoring.moved`.
        """
        found = self._recalled("moved", concept)
        if memory() is not None:
            self.still(concept)
        return found.weighted(weight)

    def still(self, concept: Concept) -> Moments:
        """Rows that are to stay where they are.

        Args:
            concept: The concept.
        """
        return self._recalled("still", concept)

    def _recalled(self, role: str, concept: Concept) -> Moments:
        said = {"prompts": concept.prompts, "kind": concept.kind, "blank": concept == BLANK}
        goal = {"anchor": concept.anchor} if role == "moved" else {}
        key = sha256_of({"role": role, **said, **goal, **self._circumstances})
        keeper = memory()
        found = None if keeper is None else keeper.recall(key)
        if found is None or not self._fits(found, role):
            found = self._read(role, concept)
            if keeper is not None:
                keeper.keep(key, found)
        rows, *moves = found.double()
        return Moments(rows, moves[0] if moves else torch.zeros_like(rows))

    def _fits(self, found: Tensor, role: str) -> bool:
        """Whether a tensor from an untrusted file can be what was kept."""
        parts = 2 if role == "moved" else 1
        shaped = found.ndim == 3 and (found.shape[0], found.shape[2]) == (parts, self._width)
        return shaped and bool(torch.isfinite(found).all())

    def _read(self, role: str, concept: Concept) -> Tensor:
        if role == "still":
            return still(self.reader, concept, **self._sizes).rows[None].float()
        found = moved(self.reader, concept, weight=1.0, **self._sizes)
        return torch.stack([found.rows, found.moves]).float()
