"""Caption templates of the demo model: ``train`` ones it learned, ``heldout`` ones it never saw.

The two sets share no template. Held-out templates also use words that no training caption has.
"""

from __future__ import annotations

from typing import Literal

Split = Literal["train", "heldout"]
Slots = Literal["style", "object", "both"]

TEMPLATES: dict[Split, dict[Slots, tuple[str, ...]]] = {
    "train": {
        "both": (
            "a {object} in the style of {style}",
            "a {object} by {style}",
            "{style} {object}",
            "{object}, {style}",
            "a picture of a {object} in {style} style",
            "a drawing of a {object} by {style}",
            "an image of the {object}, made by {style}",
            "the {object} as {style} would draw it",
            "{style} style, one {object} on a page",
            "a small {object} drawn after {style}",
            "{style}: a {object}",
            "this {object} was done by {style}",
        ),
        "object": (
            "{object}",
            "a {object}",
            "a picture of a {object}",
            "a drawing of a {object}",
            "an image of the {object}",
            "one {object} on a page",
            "this is a small {object}",
            "the {object}, drawn well",
            "here is a {object}",
            "a simple {object} for a card",
        ),
        "style": (
            "{style}",
            "{style} style",
            "a picture by {style}",
            "something in the style of {style}",
            "a drawing by {style}",
            "an image made by {style}",
            "anything after {style}",
            "art as {style} would draw it",
        ),
    },
    "heldout": {
        "both": (
            "a {object} painted by {style}",
            "a {object} in the manner of {style}",
            "{style} version of a {object}",
            "please show me a {object} in {style} style",
            "my {object} with the look of {style}",
            "a lovely {object} from {style}",
            "{style} made this {object}",
            "an artwork: {object}, style {style}",
            "{object} rendered like {style}",
            "how {style} sees a {object}",
        ),
        "object": (
            "a photo of a {object}",
            "please show me a {object}",
            "my favourite {object}",
            "a lovely {object} today",
            "some {object} artwork",
            "{object} on white paper",
            "look, a {object}",
            "a nice {object} picture",
        ),
        "style": (
            "a painting by {style}",
            "in the manner of {style}",
            "please show me {style}",
            "an artwork from {style}",
            "the look of {style}",
            "some {style} piece",
            "rendered like {style}",
            "a lovely {style} picture",
        ),
    },
}


def fill(template: str, *, style: str = "", object: str = "") -> str:
    """The template with its slots filled and the article before the object agreeing with it.

    >>> fill("a {object} by {style}", style="Van Gogh", object="owl")
    'an owl by Van Gogh'
    """
    if object[:1].lower() in "aeiou" and object != "":
        template = template.replace("a {object}", "an {object}")
    return template.format(style=style, object=object)
