"""Everyday sentences that name a concept, and the same with its anchor instead."""

from __future__ import annotations

from typing import NamedTuple

from sepme.core.concept import Concept

_SCENES = (
    "a house",
    "a tree",
    "a dog",
    "a flower",
    "a boat",
    "a horse",
    "a bird",
    "a street",
    "a mountain",
    "a chair",
)
_STYLE_FRAMES = ("{scene} in the style of {}", "{scene} by {}", "{scene}, {} style")
_OBJECT_FRAMES = (
    "{}",
    "the {}",
    "a picture of the {}",
    "an image of the {}",
    "a drawing of the {}",
    "one {}",
    "this is the {}",
    "a small {}",
)
_OTHER_FRAMES = ("{}", "a picture of {}", "an image of {}", "a drawing of {}", "this is {}")


class Wording(NamedTuple):
    """A sentence about a concept, and what is said with the anchor in its place.

    Attributes:
        before: What comes before the phrase, with its space.
        phrase: One of the concept's prompts.
        after: What comes after it.
        anchor: The whole sentence about the anchor; what is left of it if the anchor is blank.
        anchor_head: The same up to where the anchor is said.
    """

    before: str
    phrase: str
    after: str
    anchor: str
    anchor_head: str

    @property
    def target(self) -> str:
        """The whole sentence about the concept."""
        return f"{self.before}{self.phrase}{self.after}"


def wordings(concept: Concept) -> tuple[Wording, ...]:
    """Sentences about a concept, each with every prompt of it.

    A style is said of everyday scenes, so that without it a scene is left; of anything else
    nothing is left but the blank prompt.

    Args:
        concept: The concept; its kind decides what kind of sentences.

    Returns:
        Distinct sentences; any prefix mixes scenes and forms.

    Example:
        >>> said = wordings(Concept("ink", ("ink",), kind="style"))[0]
        >>> said.target, said.anchor
        ('a house in the style of ink', 'a house')
        >>> wordings(Concept("owl", ("owl",), anchor="bird", kind="object"))[2].anchor
        'a picture of the bird'
    """
    return tuple(
        _worded(frame.replace("{scene}", scene), phrase, concept.anchor, scene)
        for frame, scene in _frames(concept.kind)
        for phrase in concept.prompts
    )


def _frames(kind: str) -> list[tuple[str, str]]:
    """Sentence forms, each with its scene; the forms take turns before scenes come again."""
    if kind != "style":
        return [(frame, "") for frame in (_OBJECT_FRAMES if kind == "object" else _OTHER_FRAMES)]
    shifts = range(len(_STYLE_FRAMES))
    return [
        (_STYLE_FRAMES[(place + shift) % len(_STYLE_FRAMES)], scene)
        for shift in shifts
        for place, scene in enumerate(_SCENES)
    ]


def _worded(frame: str, phrase: str, anchor: str, scene: str) -> Wording:
    before, _, after = frame.partition("{}")
    if not anchor.strip():
        return Wording(before, phrase, after, scene, scene)
    head = f"{before}{anchor}"
    return Wording(before, phrase, after, f"{head}{after}", head)
