"""What sends a concept's family of sentences to its anchor's, and what keeps others in place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sepme.core.backend import Encoder
from sepme.core.concept import Concept
from sepme.linalg.low_rank import LowRank
from sepme.linalg.text_system import Moments, TextSystem, pooled
from sepme.methods._families import family_pairs, family_rows
from sepme.methods._reader import Reader

LAMB, WEIGHT = 2.0, 10.0
"""Weight of a small map (squared row norms), and how often rows to move count."""

SENTENCES, POOLED = 8, 8
"""Sentences for each concept besides its own prompts, and rows that stand for all of theirs."""


def moved(
    model: Encoder,
    concept: Concept,
    *,
    weight: float = WEIGHT,
    sentences: int = SENTENCES,
    most: int = POOLED,
) -> Moments:
    """What is to move, and where, counted ``weight`` times.

    Args:
        model: The model; its text encoder must be causal.
        concept: The concept; what its family's rows are sent to is the anchor's family.
        weight: How often the rows count.
        sentences: Sentences besides its own prompts.
        most: Rows that stand for all at most; 0 for all.

    Raises:
        MethodError: If the prompts have the embedding of the anchor, or the encoder is not causal.
    """
    family = family_pairs(model, concept, sentences)
    gap = family.anchors - family.targets
    return pooled(family.targets, gap, most=most).weighted(weight)


def still(
    model: Encoder, concept: Concept, *, sentences: int = SENTENCES, most: int = POOLED
) -> Moments:
    """What is to stay where it is.

    Args:
        model: The model.
        concept: The concept; all rows of its family count, once each.
        sentences: Sentences besides its own prompts.
        most: Rows that stand for all at most; 0 for all.
    """
    rows = family_rows(model, concept, sentences)
    return pooled(rows, torch.zeros_like(rows), most=most)


def anchoring(
    model: Encoder, concept: Concept, others: Sequence[Concept], directions: Tensor
) -> LowRank:
    """The smallest map that reads some directions and sends a concept to its anchor.

    Args:
        model: The model.
        concept: What is to move.
        others: What is to stay where it is, also where the directions do see it.
        directions: Orthonormal rows, ``(r, d_text)``.

    Returns:
        Factors ``(d_text, k)`` and ``(k, d_text)``, float64, with ``k`` at most ``POOLED``.

    Raises:
        MethodError: As `moved`.
    """
    reader = Reader(model)
    target = moved(reader, concept)
    known = (target, *(still(reader, other) for other in others))
    return TextSystem.of(known, lamb=LAMB, basis=directions.to("cpu", torch.float64)).map(target)
