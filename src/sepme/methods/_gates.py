"""Gates: which prompts carry a concept, told by a linear score of their rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sepme.core.backend import Encoder
from sepme.core.concept import BLANK, Concept
from sepme.core.record import Scalar
from sepme.errors import NotSeparable
from sepme.linalg.discriminant import discriminant
from sepme.methods._families import everyday, sentences
from sepme.methods._spans import phrase_rows

_EVERY = 64
"""Sentences of a concept that a threshold is set on, if there are that many."""

_ABOVE = 1e-3
"""How far a threshold is above the scores of others where the concept's own reach into these; the
difference of the mean scores is 1."""


class Gate(NamedTuple):
    """When a map is to act.

    Attributes:
        discriminant: ``(1, d_text)``, float32.
        threshold: ``(1, 1)``, float32.
        facts: What is to be told of it.
    """

    discriminant: Tensor
    threshold: Tensor
    facts: dict[str, Scalar]


class _Span(NamedTuple):
    """A prompt and the rows of it that say a concept."""

    prompt: str
    rows: slice


class Gates:
    """Works out gates on one model; what several need is encoded once.

    Args:
        model: What reads prompts; it must be causal.
        count: Sentences of each concept that a discriminant is fitted on.
    """

    def __init__(self, model: Encoder, count: int) -> None:
        """Start with nothing encoded."""
        self._model, self._count = model, count
        self._rows: dict[str, Tensor] = {}

    def gate(self, concept: Concept, others: Sequence[Concept]) -> Gate:
        """When the map of a concept is to act.

        The discriminant tells the rows of the concept's own tokens from every row of prompts that
        do not say it. The threshold is half-way between the largest score of such a prompt and the
        smallest of one that says the concept; where these overlap it is just above the former, and
        some sentences that say the concept are missed.

        Args:
            concept: The concept.
            others: What must not fire, blank among them.

        Returns:
            The gate. Of its facts, ``others`` counts prompts without the concept that the
            discriminant was not fitted on, and ``false_fires_upper`` is the 95 % upper bound of
            the share of prompts like these that fire; ``own_least`` and ``others_most`` are the
            scores next to the threshold, ``missed`` the share of own prompts below it.

        Raises:
            NotSeparable: If a listed prompt of the concept does not fire.
            MethodError: If the text encoder is not causal.
        """
        own, fitted = self._own(concept), dict.fromkeys(self._without(concept, others))
        fresh = dict.fromkeys(p for p in self._fresh(concept, others) if p not in fitted)
        said = own[: len(concept.prompts) + self._count]
        named = torch.cat([self._encode((span.prompt,))[0, span.rows] for span in said])
        vector = discriminant(named, self._encode(fitted).flatten(0, 1)).float()
        scores = self._scores((span.prompt for span in own), vector)
        most = float(self._scores((*fitted, *fresh), vector).max())
        least = float(scores.min())
        threshold = (most + least) / 2 if least > most else most + _ABOVE
        listed = float(scores[: len(concept.prompts)].min())
        if not listed > threshold:
            raise NotSeparable(
                f"no gate tells {concept.name!r} from what is to be left alone: one of its own "
                f"prompts scores {listed:.3g}, another prompt {most:.3g}. Retain less that says "
                "the concept, or erase it without a gate."
            )
        facts: dict[str, Scalar] = {
            "others": len(fresh),
            "false_fires_upper": 1 - 0.05 ** (1 / len(fresh)) if fresh else 1.0,
            "own_least": least,
            "others_most": most,
            "missed": float((scores <= threshold).float().mean()),
        }
        return Gate(vector[None], torch.tensor([[threshold]]), facts)

    def _own(self, concept: Concept) -> list[_Span]:
        """The concept's prompts, then sentences in which all of it lies inside the text window."""
        phrase = concept.prompts[0]
        bare = phrase_rows(self._model, "", phrase)
        spans = []
        for prompt in concept.prompts:
            before, name, _ = prompt.partition(phrase)
            around = (before, name) if name else ("", prompt)
            spans.append(_Span(prompt, phrase_rows(self._model, *around)))
        for before, after in sentences(concept, _EVERY):
            rows = phrase_rows(self._model, before, phrase)
            if rows.stop - rows.start == bare.stop - bare.start:
                spans.append(_Span(f"{before}{phrase}{after}", rows))
        return spans

    def _without(self, concept: Concept, others: Sequence[Concept]) -> Iterator[str]:
        """Prompts without the concept that its discriminant is fitted on."""
        for other in others:
            yield from other.prompts
            yield from _about(other, concept, 0, self._count)
        anchor = concept.anchor.strip()
        for before, after in sentences(concept, self._count):
            texts = [f"{before.strip()} {after.strip()}".strip()]
            texts += [f"{before}{anchor}{after}"] if anchor else []
            yield from (text for text in texts if not _says(text, concept))
        yield from (text for text in everyday()[::2] if not _says(text, concept))

    def _fresh(self, concept: Concept, others: Sequence[Concept]) -> Iterator[str]:
        """Prompts without the concept that only the threshold is set on."""
        for other in others:
            yield from _about(other, concept, self._count, 2 * self._count)
        yield from (text for text in everyday()[1::2] if not _says(text, concept))

    def _encode(self, prompts: Iterable[str]) -> Tensor:
        chosen = tuple(prompts)
        missing = tuple(prompt for prompt in chosen if prompt not in self._rows)
        if missing:
            rows = self._model.encode(missing).to("cpu", torch.float32)
            self._rows |= zip(missing, rows, strict=True)
        return torch.stack([self._rows[prompt] for prompt in chosen])

    def _scores(self, prompts: Iterable[str], vector: Tensor) -> Tensor:
        return (self._encode(prompts) @ vector).amax(1)


def _about(other: Concept, concept: Concept, first: int, last: int) -> Iterator[str]:
    """Some of the sentences about a concept that say nothing of another one besides it."""
    if other == BLANK:
        return
    for before, after in sentences(other, last)[first:]:
        if not _says(f"{before}|{after}", concept):
            yield f"{before}{other.prompts[0]}{after}"


def _says(text: str, concept: Concept) -> bool:
    return any(
        re.search(rf"\b{re.escape(prompt.strip().lower())}\b", text.lower())
        for prompt in concept.prompts
    )
