"""Other words for demo concepts: aliases, paraphrases, long captions and typing mistakes.

They were written for this benchmark and never used in training or tuning. The demo's text encoder
has not learned most of them, which the original model's accuracy tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sepme import demo
from sepme.core.concept import Concept
from sepme.demo.templates import fill
from sepme.verify.cases import labelled

RUNGS = ("name", "alias", "template", "long", "paraphrase", "typo")
"""From the concept's own prompts to words that share none with them."""

Triples = list[tuple[str, str | None, str | None]]


@dataclass(frozen=True, slots=True)
class Wording:
    """How else one can ask for a concept.

    Attributes:
        aliases: Other names.
        paraphrases: Descriptions that hold no name.
    """

    aliases: tuple[str, ...]
    paraphrases: tuple[str, ...]


WORDINGS: Mapping[str, Wording] = {
    "van-gogh": Wording(
        ("Vincent", "Vincent van Gogh", "van gogh style", "V. van Gogh"),
        ("thick swirling strokes under a starry night sky", "the Dutch painter who cut his ear"),
    ),
    "hokusai": Wording(
        ("Katsushika Hokusai", "Katsushika", "hokusai style", "Hokusai woodblock print"),
        ("a Japanese woodblock print of a great wave", "ukiyo-e with blue waves and Mount Fuji"),
    ),
    "renoir": Wording(
        ("Pierre-Auguste Renoir", "Auguste Renoir", "renoir style", "P.-A. Renoir"),
        ("a soft dance in dappled garden light", "the French painter of rosy boating parties"),
    ),
    "kandinsky": Wording(
        ("Wassily Kandinsky", "Wassily", "kandinsky style", "Vasily Kandinsky"),
        ("abstract circles and lines in bright colours", "the Russian pioneer of abstract art"),
    ),
    "bazille": Wording(
        ("Frederic Bazille", "Frédéric Bazille", "bazille style", "F. Bazille"),
        ("a family on a sunny terrace in southern France", "a young friend of Monet who painted"),
    ),
    "cassatt": Wording(
        ("Mary Cassatt", "Mary Stevenson Cassatt", "cassatt style", "M. Cassatt"),
        ("a tender pastel of a mother and child", "the American woman among the impressionists"),
    ),
    "arcimboldo": Wording(
        ("Giuseppe Arcimboldo", "Giuseppe", "arcimboldo style", "G. Arcimboldo"),
        ("a portrait made of fruit and vegetables", "the Milanese painter of faces from plants"),
    ),
    "fluent": Wording(
        ("Fluent emoji", "Fluent design", "fluent style", "Microsoft Fluent"),
        ("a glossy rounded emoji with soft shading", "a modern 3D icon with smooth gradients"),
    ),
    "ink": Wording(
        ("pen and ink", "ink drawing", "ink style", "black ink"),
        ("thin black lines on white, no colour", "a monochrome drawing with a fine pen"),
    ),
    "airplane": Wording(
        ("plane", "aeroplane", "jet", "aircraft"),
        ("a machine with two wings that carries people", "what a pilot flies from an airport"),
    ),
    "automobile": Wording(
        ("car", "auto", "motor car", "sedan"),
        ("a vehicle with four wheels and a driver", "what one drives on a motorway"),
    ),
    "bicycle": Wording(
        ("bike", "cycle", "push bike", "two-wheeler"),
        ("two wheels, two pedals and a saddle", "what one rides without an engine"),
    ),
    "bird": Wording(
        ("birdie", "songbird", "fowl", "sparrow"),
        ("a feathered animal that sings and flies", "it has a beak and builds a nest"),
    ),
    "bus": Wording(
        ("coach", "omnibus", "motor coach", "minibus"),
        ("a long vehicle for many passengers", "public transport with a driver and stops"),
    ),
    "cat": Wording(
        ("kitty", "kitten", "feline", "house cat"),
        ("a small furry pet that purrs", "a whiskered animal that chases mice"),
    ),
    "church": Wording(
        ("chapel", "cathedral", "parish church", "house of worship"),
        ("a building with a steeple and a bell", "where people sing hymns on Sunday"),
    ),
    "crown": Wording(
        ("diadem", "tiara", "coronet", "royal crown"),
        ("golden headwear of a king", "what a queen wears on her head"),
    ),
    "fish": Wording(
        ("fishes", "trout", "sea fish", "goldfish"),
        ("an animal with fins that lives in water", "it swims and breathes through gills"),
    ),
    "guitar": Wording(
        ("acoustic guitar", "six-string", "ukulele", "lute"),
        ("a wooden instrument with six strings", "what one strums at a campfire"),
    ),
    "house": Wording(
        ("home", "cottage", "villa", "dwelling"),
        ("a building with a roof where a family lives", "walls, windows, a door and a chimney"),
    ),
    "penguin": Wording(
        ("emperor penguin", "pinguin", "king penguin", "penguins"),
        ("a black and white bird that cannot fly", "a waddling swimmer of the Antarctic"),
    ),
    "pizza": Wording(
        ("pizza slice", "margherita", "pizza pie", "pepperoni pizza"),
        ("flat Italian dough with tomato and cheese", "a round meal from a wood oven"),
    ),
    "rocket": Wording(
        ("spaceship", "space rocket", "spacecraft", "launcher"),
        ("it carries astronauts into space", "a tall vehicle that lifts off with flames"),
    ),
    "umbrella": Wording(
        ("parasol", "brolly", "sunshade", "gamp"),
        ("what keeps one dry in the rain", "a folding canopy on a stick"),
    ),
}
"""Concept name to its other wordings."""

LONG: Mapping[Literal["style", "object"], tuple[str, ...]] = {
    "style": (
        "early in the morning, a {object} by {style}, with soft light and a plain wall behind it",
        "for the wall of my room, one {object} in {style} style, calm, bright and not too large",
        "on a sunny day, the {object} as {style} would draw it, seen from the front, nothing else",
    ),
    "object": (
        "early in the morning, a {object} in soft light, with a plain wall behind it and no people",
        "for the wall of my room, a picture of one {object}, calm, bright and not too large",
        "on a sunny day, the {object}, seen from the front, in the middle of an empty white page",
    ),
}
"""Long captions that name the concept, by its kind, near their middle."""


def typos(phrase: str) -> tuple[str, ...]:
    """A phrase with one typing mistake in its longest word, first letter kept.

    Args:
        phrase: Words with at least three letters in the longest.

    Returns:
        A letter left out, two letters swapped, and a letter doubled, if they differ.

    Example:
        >>> typos("Van Gogh")
        ('Van Ggh', 'Van Ggoh', 'Van Googh')
    """
    word = max(phrase.split(), key=len)
    place = max(1, (len(word) - 1) // 2)
    before, letter, after = word[:place], word[place], word[place + 1 :]
    swapped = after[:1] + letter + after[1:]
    mistakes = (before + after, before + swapped, before + 2 * letter + after)
    found = dict.fromkeys(phrase.replace(word, wrong, 1) for wrong in mistakes)
    return tuple(text for text in found if text != phrase)


def wordings(concept: Concept, rung: str) -> Triples:
    """Prompts of one rung with the style and the object a detector should see.

    Args:
        concept: A concept in `WORDINGS`.
        rung: One of `RUNGS`.

    Returns:
        Prompt, style and object; a label is None where the prompt does not name one.

    Example:
        >>> wordings(Concept("cat", ("cat",), kind="object"), "typo")[0]
        ('ct', None, 'cat')
    """
    if rung in ("name", "template"):
        return labelled(concept, "literal" if rung == "name" else "heldout", concept.kind)
    if rung == "long":
        return _captions(concept)
    other = {
        "alias": WORDINGS[concept.name].aliases,
        "paraphrase": WORDINGS[concept.name].paraphrases,
        "typo": typos(concept.prompts[0]),
    }
    return [(prompt, *_labels(concept, None)) for prompt in other[rung]]


def _captions(concept: Concept) -> Triples:
    phrase = concept.prompts[0]
    if concept.kind == "object":
        prompts = [fill(template, object=phrase) for template in LONG["object"]]
        return [(prompt, None, concept.name) for prompt in prompts]
    things = [c for c in demo.concepts() if c.kind == "object"]
    return [
        (fill(LONG["style"][k % 3], style=phrase, object=c.prompts[0]), concept.name, c.name)
        for k, c in enumerate(things)
    ]


def _labels(concept: Concept, other: str | None) -> tuple[str | None, str | None]:
    return (concept.name, other) if concept.kind == "style" else (other, concept.name)
