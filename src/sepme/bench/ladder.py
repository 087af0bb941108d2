"""The prompt ladder: is a concept gone in other words, and is what lies near it still there?"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch

from sepme import demo
from sepme.bench.benchmark import Benchmark, Columns, Findings, in_batches, taught
from sepme.bench.cells import Part
from sepme.bench.fits import erased, fitted
from sepme.bench.gallery import Gallery, Shot, card
from sepme.bench.gold import never_taught
from sepme.bench.store import Store
from sepme.bench.wordings import RUNGS, WORDINGS, Triples, wordings
from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.errors import SpecError, did_you_mean
from sepme.pipeline import ErasedPipeline
from sepme.verify.cases import Case, labelled, numbered
from sepme.verify.evidence import Row
from sepme.verify.rows import OTHER_HEAD

if TYPE_CHECKING:
    from PIL.Image import Image

_SPLITS = {"name": "literal"}
_ORIGINAL = {"cross_domain_accuracy": "original_cross_domain_accuracy"}
_GOLD = {"cross_domain_accuracy": "gold_cross_domain_accuracy"}


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Images of one group of prompts under one fit, beside the original model's.

    Attributes:
        fit: Seed of the fit.
        before: The original's images.
        after: The same cases with the concept erased.
        gold: The same cases by a model that was never taught it, if there is one.
    """

    fit: int
    before: Sequence[Shot]
    after: Sequence[Shot]
    gold: Sequence[Shot]


@dataclass(frozen=True, kw_only=True)
class Ladder(Benchmark):
    """Each concept is erased alone and asked for in ever other words.

    Rungs, in the column ``rung``: ``name`` (its own prompts), ``alias``, ``template`` (held-out),
    ``long`` (captions), ``paraphrase`` and ``typo``. Then ``neighbour`` and ``random``: the nearest
    concepts of its kind by text embedding, and others; and ``composition``: what the held-out
    prompts name besides it. A rung on which the *original* model does not draw the concept says
    nothing about erasure, so its accuracy stands beside each figure.

    Args:
        concepts: What to erase, one at a time; see `WORDINGS`.
        fits: Fits per concept, with seeds ``seed``, ``seed + 1`` and so on. With two or more,
            intervals of what was erased are the hull of `cluster_bootstrap` and Wilson's.
        neighbours: How many nearest and how many random concepts.
        least: Fewest images of a rung, over all fits.
        gold: Folder with a diffusers directory ``gold-NAME`` for each concept, a model that was
            never taught it: the least that erasure can reach.

    Raises:
        SpecError: If a value is out of range.
    """

    name: ClassVar[str] = "ladder"
    headline: ClassVar[frozenset[str]] = frozenset(
        {
            "original_accuracy",
            "erased_accuracy",
            "gold_accuracy",
            "retained_accuracy",
            "original_cross_domain_accuracy",
            "cross_domain_accuracy",
        }
    )
    concepts: tuple[str, ...] = ("van-gogh", "hokusai", "cat")
    fits: int = 1
    neighbours: int = 3
    least: int = 48
    gold: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        self._at_least_one("fits", "neighbours", "least")
        taught(self.concepts)
        for name in self.concepts:
            if name not in WORDINGS:
                hint = did_you_mean(name, WORDINGS)
                raise SpecError(f"there are no wordings of {name!r}. {hint}")

    def run(self, model: ErasedPipeline, store: Store, *, progress: bool = True) -> Findings:
        """Climb every concept's ladder.

        Args:
            model: The demo model, with nothing erased.
            store: Where images and fits are kept between runs.
            progress: Whether to show progress on stderr.

        Returns:
            The rows, and pictures beside the original's.
        """
        rows: list[Row] = []
        pictures: dict[str, Mapping[str, Image]] = {}
        for concept in taught(self.concepts):
            looks, others = self._climb(concept, model, store, progress)
            rows += self._rows(concept, looks, others)
            pictures |= _pictures(concept, looks)
        return Findings(tuple(rows), pictures)

    def cells(self) -> tuple[Part, ...]:
        """One a concept."""
        return tuple(Part(replace(self, concepts=(name,))) for name in self.concepts)

    def _climb(
        self, concept: Concept, model: ErasedPipeline, store: Store, progress: bool
    ) -> tuple[dict[str, list[Look]], dict[str, tuple[Concept, ...]]]:
        near, far = self._others(model, concept)
        groups = {rung: wordings(concept, rung) for rung in RUNGS}
        groups |= {"neighbour": _in_turn(near), "random": _in_turn(far)}
        looks: dict[str, list[Look]] = {rung: [] for rung in groups}
        with ExitStack() as stack:
            gallery, *gold = [
                stack.enter_context(
                    closing(Gallery(one, store, steps=self.steps, progress=progress))
                )
                for one in (model, *self._gold(concept, model))
            ]
            for turn in range(self.fits):
                seed, method = self.seed + turn, self.new_method()
                shifts = fitted(model, method, (concept,), store=store, seed=seed)
                with erased(model, shifts) as seen:
                    for rung, triples in groups.items():
                        cases = self._cases(triples, turn)
                        after = gallery.shoot(cases)
                        with seen.backend.pristine():
                            before = gallery.shoot(cases)
                        floor = [shot for one in gold for shot in one.shoot(cases)]
                        looks[rung].append(Look(seed, before, after, floor))
        return looks, {"neighbour": near, "random": far}

    def _gold(self, concept: Concept, model: ErasedPipeline) -> Iterator[ErasedPipeline]:
        if self.gold is not None:
            yield never_taught(concept, self.gold, model)

    def _cases(self, triples: Triples, turn: int) -> tuple[Case, ...]:
        """The fit's own part of a rung's cases."""
        count = in_batches(-(-self.least // self.fits))
        return numbered(triples, (turn + 1) * count, self.seed)[turn * count :]

    def _others(
        self, model: Backend, concept: Concept
    ) -> tuple[tuple[Concept, ...], tuple[Concept, ...]]:
        """Nearest concepts of the same kind, and random ones among the rest."""
        peers = [c for c in demo.concepts() if c.kind == concept.kind and c.name != concept.name]
        ordered = by_distance(model, concept, peers)
        near, rest = ordered[: self.neighbours], ordered[self.neighbours :]
        draw = random.Random(self.seed)  # noqa: S311 (a choice, not a secret)
        return near, tuple(draw.sample(rest, min(self.neighbours, len(rest))))

    def _rows(
        self,
        concept: Concept,
        looks: dict[str, list[Look]],
        others: dict[str, tuple[Concept, ...]],
    ) -> Iterator[Row]:
        head, other = concept.kind, OTHER_HEAD[concept.kind]
        for rung in RUNGS:
            yield from self._pair(concept, rung, "erased_accuracy", looks[rung], head)
        for rung, chosen in others.items():
            names = "+".join(c.name for c in chosen)
            if chosen:
                yield from self._pair(
                    concept, rung, "retained_accuracy", looks[rung], head, others=names
                )
        composed = looks["template"]
        yield from self._pair(concept, "composition", "cross_domain_accuracy", composed, other)

    def _pair(
        self,
        concept: Concept,
        rung: str,
        metric: str,
        looks: Sequence[Look],
        head: str,
        **more: str,
    ) -> Iterator[Row]:
        """The original's rate and the erased model's."""
        columns: Columns = {
            "concepts": concept.name,
            "split": _SPLITS.get(rung, "heldout"),
            "seeds": [look.fit for look in looks],
            "rung": rung,
            **more,
        }
        original = [hit for look in looks for hit in _hits(look.before, head)]
        yield self.rate(_ORIGINAL.get(metric, "original_accuracy"), original, **columns)
        gold = [hit for look in looks for hit in _hits(look.gold, head)]
        if gold:
            yield self.rate(_GOLD.get(metric, "gold_accuracy"), gold, **columns)
        by_fit = {look.fit: _hits(look.after, head) for look in looks}
        yield self.rate_of_fits(metric, by_fit, **columns)


def by_distance(model: Backend, concept: Concept, others: Sequence[Concept]) -> tuple[Concept, ...]:
    """Other concepts, nearest first, by Euclidean distance of the first prompts' embeddings.

    Args:
        model: Encodes the prompts.
        concept: Where to measure from.
        others: What to order.
    """
    names = [c.prompts[0] for c in (concept, *others)]
    rows = model.encode(names).flatten(1).to("cpu", torch.float64)
    apart = torch.linalg.vector_norm(rows[1:] - rows[0], dim=1).tolist()
    return tuple(others[k] for k in sorted(range(len(others)), key=lambda k: apart[k]))


def _pictures(
    concept: Concept, looks: Mapping[str, Sequence[Look]]
) -> dict[str, Mapping[str, Image]]:
    """The first image of every rung."""
    named = {
        rung: {"original": look.before[0], "erased": look.after[0]}
        | ({"never taught": look.gold[0]} if look.gold else {})
        for rung, (look, *_) in looks.items()
    }
    return dict(card(f"{concept.name}, {rung}", shots) for rung, shots in named.items())


def _in_turn(concepts: Sequence[Concept]) -> Triples:
    """Held-out prompts of several concepts, taking turns."""
    lists = [labelled(concept, "heldout", concept.kind) for concept in concepts]
    return [triple for group in zip(*lists, strict=False) for triple in group]


def _hits(shots: Sequence[Shot], head: str) -> list[bool]:
    return [shot.hit(head) for shot in shots if shot.case.label(head) is not None]
