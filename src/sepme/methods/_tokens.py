"""Which rows of a text embedding stand for which tokens, told from the embeddings alone."""

from __future__ import annotations

import torch

from sepme.core.backend import Backend
from sepme.errors import MethodError

_CHANGED = 1e-3
"""Share of its norm by which a row that sees another token moves, at least."""


def last_token(model: Backend, prompt: str) -> int:
    """Row of a prompt's last token; of the end token if the prompt is blank.

    Text encoders are causal: said twice, a prompt changes the rows after its last token only.

    Args:
        model: The model; its text encoder must be causal.
        prompt: The prompt.

    Returns:
        Index of the row.

    Raises:
        MethodError: If the text encoder is not causal.
    """
    if not prompt.strip():
        return 1
    once, twice = model.encode((prompt, f"{prompt} {prompt}"))
    moved = torch.linalg.vector_norm((twice - once).float(), dim=1)
    changed = moved > _CHANGED * torch.linalg.vector_norm(once.float(), dim=1)
    if changed[:2].any():
        raise MethodError(
            f"what comes after {prompt!r} changes its own embedding; a causal text encoder is "
            "needed to find the prompt's last token. Use a method that does not need it."
        )
    end = int(changed.int().argmax()) if changed.any() else len(once) - 1  # a full window
    return end - 1
