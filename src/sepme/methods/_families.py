"""Everyday sentences that say a concept, and which of their rows say it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sepme.core.backend import Encoder
from sepme.core.concept import BLANK, Concept
from sepme.methods._rows import Pairs, encoded, pairs, prompts_of
from sepme.methods._spans import text_end

_SCENES = ("house", "tree", "dog", "flower", "boat", "horse", "bird", "chair")
_STYLE_FORMS = (
    "a {scene} in the style of {}",
    "a {scene} by {}",
    "{scene}, {} style",
    "{} {scene}",
    "a picture of a {scene} in {} style",
    "{}: a {scene}",
    "this {scene} was made by {}",
    "one {} {scene} on a page",
)
_OTHER_FORMS = (
    "{}",
    "a {}",
    "the {}",
    "a picture of the {}",
    "a drawing of a {}",
    "one small {}",
    "this is the {}",
    "here is a {}",
    "a {} by a painter",
    "{}, in colour",
    "a picture of a {} in pencil",
    "the {} as a painter would see it",
    "one {} on a table",
    "this {} was made at night",
    "a simple {} for a child",
    "a {} in the style of a painter",
)


def sentences(concept: Concept, count: int) -> list[tuple[str, str]]:
    """What some everyday sentences say before the concept, and after it.

    A style is said of everyday scenes. Which form comes with which scene does not depend on
    ``count``, so fewer sentences are a prefix of more.

    Args:
        concept: The concept; its kind decides what is said.
        count: How many there are to be at most.

    Returns:
        Distinct pairs of a beginning and an end.

    Example:
        >>> sentences(Concept("ink", ("ink",), kind="style"), 1)
        [('a house in the style of ', '')]
    """
    turns = range(len(_SCENES))
    if concept.kind == "style":
        forms = [
            form.replace("{scene}", _SCENES[(place + turn) % len(_SCENES)])
            for turn in turns
            for place, form in enumerate(_STYLE_FORMS)
        ]
    else:
        forms = list(_OTHER_FORMS)
    parts = (form.partition("{}") for form in forms[:count])
    return [(before, after) for before, _, after in parts]


def everyday() -> list[str]:
    """Everyday sentences that say a scene and nothing else; neighbours say different scenes.

    Example:
        >>> everyday()[:2]
        ['house', 'tree']
    """
    return [form.format(scene) for form in _OTHER_FORMS for scene in _SCENES]


def family_pairs(model: Encoder, concept: Concept, count: int) -> Pairs:
    """Rows of a concept's prompts and of sentences that say it, and where each is to go.

    Rows count from the last token that says the concept: what comes after it is changed by it, in
    a causal text encoder. They go to the rows of the same prompt or sentence about the anchor; with
    a blank anchor, to the rows of what is left of it.

    Args:
        model: The model.
        concept: The concept; its first prompt is put into sentences.
        count: Sentences at most.

    Returns:
        The rows.

    Raises:
        MethodError: If the prompts have the embedding of the anchor, or the encoder is not causal.
    """
    own = pairs(model, (concept,), "to-end")
    said = [_aligned(model, concept, *around) for around in sentences(concept, count)]
    targets, anchors = (torch.cat(part) for part in zip(own, *said, strict=True))
    return Pairs(targets, anchors)


def family_rows(model: Encoder, concept: Concept, count: int) -> Tensor:
    """Every row of a concept's prompts and of sentences that say it, ``(n, d_text)``, float64.

    Args:
        model: The model.
        concept: The concept; the blank prompt comes in no sentence.
        count: Sentences at most.
    """
    return encoded(model, tuple(_said(concept, count))).flatten(0, 1)


def _said(concept: Concept, count: int) -> Iterator[str]:
    yield from prompts_of((concept,))
    if concept != BLANK:
        for before, after in sentences(concept, count):
            yield f"{before}{concept.prompts[0]}{after}"


def _aligned(model: Encoder, concept: Concept, before: str, after: str) -> Pairs:
    phrase, anchor = concept.prompts[0], concept.anchor.strip()
    instead = f"{before}{anchor}{after}" if anchor else f"{before.strip()} {after.strip()}".strip()
    rows, goals = encoded(model, (f"{before}{phrase}{after}", instead))
    here = text_end(model, f"{before}{phrase}") - 1
    there = max(text_end(model, f"{before}{anchor}") - 1, 1)  # never the start token's row
    length = len(rows) - max(here, there)
    return Pairs(rows[here : here + length], goals[there : there + length])
