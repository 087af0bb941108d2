"""What a fit must leave alone."""

from __future__ import annotations

from collections.abc import Sequence

from sepme.core.backend import Backend
from sepme.core.concept import BLANK, Concept
from sepme.errors import MethodError, NotSeparable


def listed(model: Backend, concept: Concept, retain: Sequence[Concept]) -> tuple[Concept, ...]:
    """Everything a shift must leave alone: blank, what the model knows, what is retained.

    An earlier definition of the concept itself does not count: the new shift replaces it.

    Args:
        model: The model.
        concept: What to erase.
        retain: What to leave alone, besides ``model.known``.

    Returns:
        Distinct concepts, blank first. Two can share a name: a concept the ledger holds and a
        retained one that words it differently; both are left alone.

    Raises:
        NotSeparable: If the concept, or one of its prompts, would have to be left alone too.

    Example:
        >>> from unittest.mock import Mock
        >>> cat, dog = Concept("cat", ("a cat",)), Concept("dog", ("a dog",))
        >>> [c.name for c in listed(Mock(known=(BLANK,)), cat, [dog])]
        ['blank', 'dog']
    """
    known = tuple(other for other in model.known if other.name != concept.name)
    others = tuple(dict.fromkeys((BLANK, *known, *retain)))
    for other in others:
        shared = [prompt for prompt in concept.prompts if prompt in other.prompts]
        if shared or other.name == concept.name:
            raise NotSeparable(
                f"{concept.name!r} cannot be erased and left alone at once: {other.name!r} is to "
                f"be left alone{f' and has the same prompt {shared[0]!r}' if shared else ''}. "
                "Retain it no longer, or give the two prompts of their own."
            )
    return others


def apart(
    model: Backend, concepts: Sequence[Concept], retain: Sequence[Concept]
) -> tuple[tuple[Concept, ...], ...]:
    """What each of several concepts must leave alone besides ``model.known``: also the others.

    Args:
        model: The model.
        concepts: What to erase.
        retain: What to leave alone, besides ``model.known``.

    Returns:
        For each concept, what is retained and the other concepts.

    Raises:
        MethodError: If two concepts have one name.
        NotSeparable: If a concept, or one of its prompts, would have to be left alone too.

    Example:
        >>> from unittest.mock import Mock
        >>> cat, dog = Concept("cat", ("a cat",)), Concept("dog", ("a dog",))
        >>> [[c.name for c in others] for others in apart(Mock(known=()), [cat, dog], [])]
        [['dog'], ['cat']]
    """
    names = [concept.name for concept in concepts]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise MethodError(
            f"{twice[0]!r} is to be erased twice in one call. Name each concept once; several "
            "wordings of one concept are prompts of one Concept."
        )
    others = tuple((*retain, *(c for c in concepts if c is not concept)) for concept in concepts)
    for concept, alone in zip(concepts, others, strict=True):
        listed(model, concept, alone)
    return others
