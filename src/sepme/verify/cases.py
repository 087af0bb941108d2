"""Which prompts and seeds a verification draws, and what a detector should see in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import TYPE_CHECKING, Literal

from sepme import demo
from sepme.core.concept import Concept
from sepme.demo.templates import TEMPLATES, Split, fill

if TYPE_CHECKING:
    from sepme.pipeline import ErasedPipeline

Role = Literal["erased", "restored", "retained", "known"]
Labels = Mapping[str, tuple[str, ...]]

BATCH = 8
"""Images drawn at once. Always the same batches, so that no figure depends on batching."""

_SEEDS_APART = 100_000
_SHARES: dict[Role, dict[str, float]] = {
    "erased": {"literal": 1 / 2, "train": 1 / 3, "heldout": 1},
    "restored": {"literal": 1 / 2, "train": 1 / 3, "heldout": 1 / 2},
    "retained": {"train": 1 / 3, "heldout": 1},
}


@dataclass(frozen=True, slots=True)
class Case:
    """One image to draw.

    Attributes:
        prompt: The prompt.
        seed: The seed.
        style: Style a perfect detector sees in the original; None if it is not judged.
        object: Object it sees; None if it is not judged.
    """

    prompt: str
    seed: int
    style: str | None = None
    object: str | None = None

    def label(self, head: str) -> str | None:
        """The expected label of one head, ``"style"`` or ``"object"``."""
        return self.style if head == "style" else self.object


Batch = tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Cases that make one group of figures.

    Attributes:
        role: What the ledger says of the concept.
        name: The concept's name, or ``"retained"``.
        split: ``"literal"``, ``"train"`` or ``"heldout"``.
        cases: What to draw with the live weights.
        originals: How many of them, from the first, to draw with the original weights too.
        head: The detector head that sees the concept; None if none does.
    """

    role: Role
    name: str
    split: str
    cases: tuple[Case, ...]
    originals: int
    head: str | None = None

    @property
    def pairs(self) -> tuple[Case, ...]:
        """The cases drawn with both."""
        return self.cases[: self.originals]

    @property
    def batch(self) -> tuple[Case, ...]:
        """The first batch, as it is drawn in every state."""
        return self.cases[:BATCH]


def seeds_from(seed: int) -> int:
    """First seed of the images: far from those that fits draw with, and from other runs'."""
    return (seed + 1) * _SEEDS_APART


def chunks(cases: Batch) -> list[Batch]:
    """The fixed batches of some cases."""
    return [cases[start : start + BATCH] for start in range(0, len(cases), BATCH)]


def plan_blocks(model: ErasedPipeline, n: int, seed: int) -> list[Block]:
    """Everything to draw for what the ledger says.

    Args:
        model: The model.
        n: Held-out images per erased concept; other groups take a fixed share of it.
        seed: Seed of the run.

    Returns:
        Blocks of erased, restored, retained and known prompts.
    """
    labels = _labels(model)
    erased = [c for c in model.ledger.known if c.name in model.erased]
    restored = [c for c in model.ledger.known if c.name not in model.erased]
    blocks = [b for c in erased for b in _concept_blocks("erased", c, labels, n, seed)]
    blocks += [b for c in restored for b in _concept_blocks("restored", c, labels, n, seed)]
    touched = {concept.name for concept in model.ledger.known}
    if labels:
        blocks += [
            _retained(split, round(n * share), seed, touched)
            for split, share in _SHARES["retained"].items()
        ]
    specials = [c for c in model.backend.known if c.name not in touched]
    each = max(1, min(BATCH, n) // len(specials)) if specials else 0
    blocks += [
        Block(
            "known",
            c.name,
            "literal",
            numbered([(p, None, None) for p in c.prompts], each, seed),
            each,
        )
        for c in specials
    ]
    return [block for block in blocks if block.cases]


def _labels(model: ErasedPipeline) -> Labels:
    """The detector's labels if they are those of the demo's concepts, else none."""
    labels: Labels = getattr(model.detector, "labels", {})
    taught = {c.name for c in demo.concepts()} if labels else set()
    return labels if taught & set(labels.get("style", ())) else {}


def _concept_blocks(
    role: Role, concept: Concept, labels: Labels, n: int, seed: int
) -> Iterable[Block]:
    taught = {c.name: c for c in demo.concepts()} if labels else {}
    known = taught.get(concept.name)
    head = ("style" if known.kind == "style" else "object") if known else None
    concept = replace(concept, kind=known.kind) if known else concept
    for split, share in _SHARES[role].items():
        if split != "literal" and (known is None or known.kind == "watermark"):
            continue
        count = max(1, round(n * share))
        cases = numbered(labelled(concept, split, head), count, seed)
        yield Block(
            role, concept.name, split, cases, _originals(role, split, len(cases), head), head
        )


def _originals(role: Role, split: str, count: int, head: str | None) -> int:
    """Erased concepts need the original only to see that the detector can tell them."""
    if role == "restored" or head is None:
        return count
    wanted = {"literal": 1, "train": 0}.get(split, count // 2 or 1)
    return min(count, -(-wanted // BATCH) * BATCH)  # whole batches, as they are drawn live


def labelled(
    concept: Concept, split: str, head: str | None
) -> list[tuple[str, str | None, str | None]]:
    """Prompts of a demo concept with the style and the object a detector should see.

    Args:
        concept: The concept.
        split: ``"literal"`` for its own prompts, else the templates.
        head: The detector head that sees it; None if none does.
    """
    own = concept.name if head else None
    if split == "literal":
        pair = (own, None) if head == "style" else (None, own)
        return [(prompt, *pair) for prompt in concept.prompts]
    wanted: Split = "train" if split == "train" else "heldout"
    partners = _partners(concept, wanted)
    prompts = demo.prompts(concept, wanted)
    if head == "style":
        return [(prompt, own, partners.get(prompt)) for prompt in prompts]
    return [(prompt, partners.get(prompt), own) for prompt in prompts]


def _partners(concept: Concept, split: Split) -> dict[str, str]:
    """Prompt to the name of the object (or style) it names beside the concept."""
    own, other = ("style", "object") if concept.kind == "style" else ("object", "style")
    return {
        fill(template, **{own: concept.prompts[0], other: partner.prompts[0]}): partner.name
        for partner in demo.concepts()
        if partner.kind == other
        for template in TEMPLATES[split]["both"]
    }


def _retained(split: str, count: int, seed: int, touched: set[str]) -> Block:
    triples = [
        (prompt, None if style == demo.PLAIN else style, thing)
        for prompt, style, thing in demo.labelled_prompts(
            "train" if split == "train" else "heldout"
        )
        if style not in touched and thing not in touched
    ]
    cases = numbered(triples, max(1, count), seed)
    return Block("retained", "retained", split, cases, len(cases))


def numbered(
    triples: Sequence[tuple[str, str | None, str | None]], count: int, seed: int
) -> tuple[Case, ...]:
    """``count`` cases, prompts in turn, each with a seed of its own.

    Args:
        triples: Prompts with their labels.
        count: How many.
        seed: Seed of the run.
    """
    first = seeds_from(seed)
    return tuple(
        Case(prompt, first + place, style, thing)
        for place, (prompt, style, thing) in enumerate(islice(cycle(triples), count))
    )
