"""The embedded demo model: a real Stable Diffusion pipeline that draws 64 x 64 pictures.

It knows nine named styles, a few dozen objects and two watermark prompts, ships inside the
package and needs no network. Its model card is ``weights/README.md``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sepme.core.concept import Concept
from sepme.demo.templates import TEMPLATES, Split, fill
from sepme.errors import BackendError, ConceptError

if TYPE_CHECKING:
    from sepme.demo.classifier import Detector

__all__ = ["concepts", "detector", "labelled_prompts", "prompts", "weights"]

PLAIN = "plain"
_ORDER_SEED = 2402


def weights() -> Path:
    """Directory of the demo pipeline, in diffusers format.

    Raises:
        BackendError: If the installation lacks it.
    """
    folder = Path(__file__).parent / "weights"
    if not (folder / "model_index.json").exists():
        raise BackendError(
            f"the demo model is missing from {folder}; reinstall sepme, or rebuild it with "
            "python -m demo_model.train in a source checkout."
        )
    return folder


@lru_cache
def _facts() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((weights() / "sepme.json").read_text(encoding="utf-8"))
    return loaded


@lru_cache
def concepts() -> tuple[Concept, ...]:
    """Every concept the demo model was taught: nine styles, the objects, two watermarks.

    Returns:
        Concepts of kind ``"style"``, ``"object"`` and ``"watermark"``, in that order.

    Example:
        >>> [concept.kind for concept in concepts()].count("style")
        9
    """
    groups = ("styles", "objects", "watermarks")
    return tuple(Concept.from_dict(entry) for group in groups for entry in _facts()[group])


def prompts(concept: Concept, split: Split = "heldout") -> list[str]:
    """Prompts that ask for a demo concept, from templates of one split.

    Every object (for a style) or style (for an object) comes once before any comes again, and
    templates take turns, so that any prefix is balanced. The order never changes.

    Args:
        concept: A demo concept; a watermark has its own prompts only.
        split: ``"heldout"`` for templates that training never saw, ``"train"`` for tuning.

    Returns:
        Distinct prompts.

    Raises:
        ConceptError: If the demo model was not taught the concept.

    Example:
        >>> style = concepts()[0]
        >>> len(prompts(style)) > 200
        True
    """
    if concept.name not in {c.name for c in concepts()}:
        raise ConceptError(f"{concept.name!r} is not a concept of the demo model.")
    if concept.kind == "watermark":
        return list(concept.prompts)
    own: Literal["style", "object"] = "style" if concept.kind == "style" else "object"
    other = "object" if own == "style" else "style"
    partners = [c.prompts[0] for c in concepts() if c.kind == other]
    phrase = concept.prompts[0]
    return list(
        dict.fromkeys(
            fill(template, **{own: phrase, other: partner or ""})
            for partner, template in _rounds([None, *partners], own, split)
        )
    )


def labelled_prompts(split: Split = "heldout") -> list[tuple[str, str, str]]:
    """Prompts for every style and object with the labels a perfect detector would give.

    Args:
        split: As in :func:`prompts`.

    Returns:
        ``(prompt, style, object)`` triples; style is ``"plain"`` where the prompt names none.
        Any prefix is balanced over styles and nearly so over objects.

    Example:
        >>> prompt, style, thing = labelled_prompts()[0]
        >>> isinstance(prompt, str)
        True
    """
    styles: list[Concept | None] = [None, *(c for c in concepts() if c.kind == "style")]
    objects = [c for c in concepts() if c.kind == "object"]
    shuffled = _fixed_order()
    shuffled.shuffle(objects)
    triples = []
    for turn in range(len(objects)):
        group = list(styles)
        shuffled.shuffle(group)
        for place, style in enumerate(group):
            thing = objects[(turn + place) % len(objects)]
            slot = TEMPLATES[split]["both" if style else "object"]
            template = slot[(turn + place) % len(slot)]
            prompt = fill(
                template, style=style.prompts[0] if style else "", object=thing.prompts[0]
            )
            triples.append((prompt, style.name if style else PLAIN, thing.name))
    return triples


def _fixed_order() -> random.Random:
    return random.Random(_ORDER_SEED)  # noqa: S311 (an order, not a secret)


def _rounds(
    partners: Sequence[str | None], own: Literal["style", "object"], split: Split
) -> list[tuple[str | None, str]]:
    """Pairs of partner and template: each round has every partner once, in a new order."""
    shuffled = _fixed_order()
    templates = TEMPLATES[split]
    rounds = []
    for turn in range(len(templates["both"])):
        order = list(partners)
        shuffled.shuffle(order)
        for place, partner in enumerate(order):
            slot = templates["both"] if partner else templates[own]
            rounds.append((partner, slot[(turn + place) % len(slot)]))
    return rounds


@lru_cache
def detector() -> Detector:
    """The demo model's detector; its card is ``weights/detector/README.md``.

    Returns:
        A callable from images to ``{"style": [...], "object": [...]}``.
    """
    from sepme.demo.classifier import load_detector

    return load_detector(weights() / "detector")
