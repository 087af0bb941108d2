"""Rows of sentences about a concept: those that say it, and those around them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.methods._spans import phrase_rows, text_end
from sepme.methods._templates import wordings


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """Sentences about a concept, taken apart.

    Attributes:
        prompts: The sentences.
        embeds: Their embeddings, ``(n, tokens, d_text)``.
        columns: 1 for the tokens that say the concept, else 0, ``(n, tokens)``.
        named: Rows from the concept's first token on, ``(a, d_text)``.
        around: Rows of all other tokens, and of those after the concept, ``(b, d_text)``.
        goals: Where those go: rows before the concept stay, each row after it goes to the row as
            far from the anchor in the same sentence about the anchor, ``(b, d_text)``.
    """

    prompts: tuple[str, ...]
    embeds: Tensor
    columns: Tensor
    named: Tensor
    around: Tensor
    goals: Tensor


def context_of(model: Backend, concept: Concept) -> Context:
    """Everyday sentences about a concept, taken apart.

    Args:
        model: The model; its text encoder must be causal.
        concept: The concept.

    Returns:
        The parts.

    Raises:
        MethodError: If the text encoder is not causal.
    """
    said = wordings(concept)
    embeds = model.encode([wording.target for wording in said])
    answers = model.encode([wording.anchor for wording in said])
    columns = torch.zeros(embeds.shape[:2])
    named, around, goals = [], [], []
    for wording, rows, answer, chosen in zip(said, embeds, answers, columns, strict=True):
        phrase = phrase_rows(model, wording.before, wording.phrase)
        end = text_end(model, wording.anchor_head)
        count = len(rows) - max(phrase.stop, end)
        chosen[phrase] = 1
        named.append(rows[phrase.start :])
        around += [rows[: phrase.start], rows[phrase.stop : phrase.stop + count]]
        goals += [rows[: phrase.start], answer[end : end + count]]
    prompts = tuple(wording.target for wording in said)
    return Context(prompts, embeds, columns, *map(torch.cat, (named, around, goals)))
