"""Which rows of a text embedding stand for a phrase, told from the embeddings alone."""

from __future__ import annotations

import torch

from sepme.core.backend import Encoder
from sepme.errors import MethodError

_CHANGED = 1e-3
"""Share of its norm by which a row that sees another token moves, at least."""


def phrase_rows(model: Encoder, before: str, phrase: str) -> slice:
    """Rows of a phrase inside a prompt, whatever comes after it.

    Text encoders are causal: a word changes its own row and those after it. So the phrase begins
    where a word after ``before`` would come, and ends where a word after it would come.

    Args:
        model: The model; its text encoder must be causal.
        before: What the prompt says before the phrase; may be blank.
        phrase: The phrase; if it is blank, the slice is empty.

    Returns:
        The rows; none if the phrase lies outside the text window.

    Raises:
        MethodError: If the text encoder is not causal.
    """
    return slice(text_end(model, before), text_end(model, f"{before}{phrase}"))


def text_end(model: Encoder, text: str) -> int:
    """Row after a text's last token, where its end token is.

    Args:
        model: The model; its text encoder must be causal.
        text: The text; the blank one ends after the start token.

    Returns:
        The row's index.

    Raises:
        MethodError: If the text encoder is not causal.
    """
    text = text.strip()
    here, there = model.encode((text, f"{text} {text or 'a'}")).float()
    moved = torch.linalg.vector_norm(there - here, dim=1)
    changed = moved > _CHANGED * torch.linalg.vector_norm(here, dim=1)
    if changed[: 2 if text else 1].any():
        raise MethodError(
            f"what comes after {text!r} changes its own embedding; a causal text encoder is needed "
            "to find the rows of a phrase. Use a method that does not need them."
        )
    return int(changed.int().argmax()) if changed.any() else len(here) - 1  # a full window


def last_token(model: Encoder, prompt: str) -> int:
    """Row of a prompt's last token; of the end token if the prompt is blank.

    Args:
        model: The model; its text encoder must be causal.
        prompt: The prompt.

    Returns:
        The row's index.

    Raises:
        MethodError: If the text encoder is not causal.
    """
    return text_end(model, prompt) - 1 if prompt.strip() else 1
