"""Boxes of an image as bins of a grid, and text rows that stand for the bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sepme.core.boxes import Box


def covered(boxes: Sequence[Box], side: int) -> Tensor:
    """Which cells of a square grid some boxes cover.

    Args:
        boxes: The boxes.
        side: Cells along an edge of the image.

    Returns:
        ``(side, side)``, boolean: cells whose centre is in a box, and the cell that holds the
        box's own centre.

    Example:
        >>> covered([Box(0.0, 0.0, 1.0, 0.4, 1.0)], 2).tolist()
        [[True, True], [False, False]]
    """
    found = torch.zeros(side, side, dtype=torch.bool)
    centres = (torch.arange(side) + 0.5) / side
    for box in boxes:
        rows = (centres >= box.top) & (centres <= box.bottom)
        columns = (centres >= box.left) & (centres <= box.right)
        found |= rows[:, None] & columns
        middle = ((box.top + box.bottom) / 2, (box.left + box.right) / 2)
        row, column = (min(max(int(at * side), 0), side - 1) for at in middle)
        found[row, column] = True
    return found


def area_weights(inside: Tensor, ratio: float) -> Tensor:
    """Weights of the prediction loss inside and outside of boxes.

    With ``K`` of ``T`` cells inside, ``T / (K + a (T - K))`` inside and ``a`` times that outside,
    so that they sum to ``T`` (Geom-Erasing, loss re-weighting).

    Args:
        inside: ``(n, height, width)``, boolean.
        ratio: ``a``, weight outside over weight inside.

    Returns:
        ``(n, 1, height, width)``, float32.

    Example:
        >>> area_weights(torch.tensor([[[True, False]]]), 3.0).tolist()
        [[[[0.5, 1.5]]]]
    """
    relative = torch.where(inside, 1.0, ratio)
    return (relative / relative.mean(dim=(1, 2), keepdim=True)).unsqueeze(1)


@dataclass(frozen=True, slots=True, eq=False)
class Captions:
    """Text embeddings in which some rows are those of location tokens.

    Attributes:
        embeds: The rows of everything else, ``(n, tokens, d_text)``.
        places: Which location token stands in a row, -1 for none, ``(n, tokens)``.
    """

    embeds: Tensor
    places: Tensor

    @classmethod
    def of(cls, embeds: Tensor, ends: Sequence[int], named: Sequence[Sequence[int]]) -> Captions:
        """Put location tokens behind the words; what does not fit into the window falls off.

        Args:
            embeds: Embeddings of the words, ``(n, tokens, d_text)``.
            ends: Row after the last word of each, where its end token is.
            named: Numbers of the location tokens of each.

        Returns:
            The captions.
        """
        rows, places = [], []
        for row, end, chosen in zip(embeds, ends, named, strict=True):
            room = torch.tensor(chosen[: len(row) - end], dtype=torch.long)
            rows.append(torch.cat([row[:end], row[end : end + 1].expand(len(room), -1), row[end:]]))
            places.append(torch.full((len(row) + len(room),), -1))
            places[-1][end : end + len(room)] = room
        tokens = embeds.shape[1]
        return cls(
            torch.stack([row[:tokens] for row in rows]),
            torch.stack([place[:tokens] for place in places]).to(embeds.device),
        )

    def with_tokens(self, table: Tensor) -> Tensor:
        """The captions' embeddings, differentiable in those of the location tokens.

        Args:
            table: One row for each location token, ``(k, d_text)``.

        Returns:
            ``(n, tokens, d_text)``.
        """
        located = (self.places >= 0).unsqueeze(-1)
        return torch.where(located, table[self.places.clamp(min=0)], self.embeds)

    def __getitem__(self, pick: Tensor) -> Captions:
        """The captions at some indices."""
        return Captions(self.embeds[pick], self.places[pick])
