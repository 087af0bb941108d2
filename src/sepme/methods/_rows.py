"""Embedding rows that closed forms work with: which rows of a prompt say a concept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from sepme.core.backend import Encoder
from sepme.core.concept import Concept
from sepme.core.record import Scalar
from sepme.errors import MethodError
from sepme.linalg.low_rank import LowRank
from sepme.methods._spans import last_token

Choice: TypeAlias = Literal["to-end", "last"]
"""Rows from a prompt's last token to the end of the text window, or that of the last token."""

Wording: TypeAlias = Literal["own", "expanded"]
"""A concept's prompts alone, or also its first prompt in templates of its kind."""

_TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "style": (
        "a work by {}",
        "a scene drawn by {}",
        "this looks like {}",
        "a page from {}",
        "the colours and lines of {}",
    ),
    "object": (
        "one {}",
        "a view of the {}",
        "here stands the {}",
        "a close look at the {}",
        "this shows the {}",
    ),
}
_OTHER = ("a scene of {}", "a view of {}", "a page about {}", "a close look at {}", "this shows {}")


class Pairs(NamedTuple):
    """Rows to move, and where each of them is to go.

    Attributes:
        targets: ``(n, d_text)``, float64, on the CPU.
        anchors: Same shape.
    """

    targets: Tensor
    anchors: Tensor


def pairs(
    model: Encoder, concepts: Iterable[Concept], choice: Choice, wording: Wording = "own"
) -> Pairs:
    """Rows of all prompts of the concepts, and the anchor's row at the same distance for each.

    Distances count from the last token; the longer of prompt and anchor decides how many rows fit.

    Args:
        model: The model.
        concepts: What to erase.
        choice: Which rows of a prompt to take.
        wording: Which prompts to take.

    Returns:
        The rows, in the order of concepts and prompts.

    Raises:
        MethodError: If the prompts of a concept have the embedding of its anchor.
    """
    each = [_pairs(model, concept, choice, wording) for concept in concepts]
    targets, anchors = (torch.cat(part) for part in zip(*each, strict=True))
    return Pairs(targets, anchors)


def _pairs(model: Encoder, concept: Concept, choice: Choice, wording: Wording) -> Pairs:
    targets, anchors = [], []
    for prompt, anchor in _wordings(concept, wording):
        rows, goal = encoded(model, (prompt, anchor))
        last, start = last_token(model, prompt), last_token(model, anchor)
        count = 1 if choice == "last" else len(rows) - max(last, start)
        targets.append(rows[last : last + count])
        anchors.append(goal[start : start + count])
    here, there = torch.cat(targets), torch.cat(anchors)
    if torch.equal(here, there):
        raise MethodError(
            f"the prompts of {concept.name!r} have the embedding of its anchor "
            f"{concept.anchor!r}, so there is nothing to map. Give it another anchor."
        )
    return Pairs(here, there)


def _wordings(concept: Concept, wording: Wording) -> list[tuple[str, str]]:
    """Prompts with the anchor of each; a blank anchor stays blank in every template."""
    own = [(prompt, concept.anchor) for prompt in concept.prompts]
    if wording == "own":
        return own
    blank = not concept.anchor.strip()
    templates = _TEMPLATES.get(concept.kind, _OTHER)
    return own + [
        (form.format(concept.prompts[0]), concept.anchor if blank else form.format(concept.anchor))
        for form in templates
    ]


def encoded(model: Encoder, prompts: Sequence[str]) -> Tensor:
    """Embeddings of prompts, ``(n, tokens, d_text)``, float64, on the CPU."""
    return model.encode(prompts).to("cpu", torch.float64)


def prompts_of(concepts: Iterable[Concept]) -> tuple[str, ...]:
    """Distinct prompts of the concepts, in order."""
    return tuple(dict.fromkeys(prompt for concept in concepts for prompt in concept.prompts))


def all_rows(model: Encoder, concepts: Iterable[Concept]) -> Tensor:
    """Every row of every prompt of the concepts, ``(n, d_text)``, float64, on the CPU."""
    return encoded(model, prompts_of(concepts)).flatten(0, 1)


def chosen_rows(model: Encoder, concepts: Iterable[Concept], choice: Choice) -> Tensor:
    """Rows that say the concepts, for each of their prompts: ``(n, d_text)``, float64."""
    found = []
    for prompt in prompts_of(concepts):
        last = last_token(model, prompt)
        found.append(encoded(model, (prompt,))[0, last : last + 1 if choice == "last" else None])
    return torch.cat(found)


def worded_rows(model: Encoder, concepts: Iterable[Concept]) -> Tensor:
    """Rows of each prompt from its start to its end token, without padding: ``(n, d_text)``."""
    found = []
    for prompt in prompts_of(concepts):
        end = last_token(model, prompt) + (1 if prompt.strip() else 0)
        found.append(encoded(model, (prompt,))[0, : end + 1])
    return torch.cat(found)


def text_facts(change: LowRank, moved: Pairs, retained: Tensor) -> dict[str, Scalar]:
    """What is to be told of a map of text space.

    Args:
        change: What the map adds to each row.
        moved: Rows to move.
        retained: Rows to leave where they are.

    Returns:
        Numbers of rows, the rank, the share of the way to the anchors that is left, and how far
        the worst retained row is moved, relative to its norm.
    """
    gap = moved.anchors - moved.targets
    missed = gap - moved.targets @ change.right.T @ change.left.T
    drift = torch.linalg.vector_norm(retained @ change.right.T @ change.left.T, dim=1)
    return {
        "rows": len(moved.targets),
        "retained": len(retained),
        "rank": len(change.right),
        "residual": float(torch.linalg.matrix_norm(missed) / torch.linalg.matrix_norm(gap)),
        "moved": float((drift / torch.linalg.vector_norm(retained, dim=1)).max()),
    }
