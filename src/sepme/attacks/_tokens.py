"""What searches for tokens share: the loop, the vocabulary, and how tokens become prompts."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Protocol

import torch
from torch import Generator, Tensor

from sepme.attacks._examples import Tally, batches, check_above_0, effort_of, moments_of
from sepme.core.attack import Attack, AttackResult, Example, Subject, Trial
from sepme.core.concept import Concept

_ENCODED_AT_ONCE = 128


class Search(Protocol):
    """The state of a search for tokens, for a batch of examples."""

    def step(self, progress: float, rows: Sequence[int]) -> None:
        """Improve some rows of the batch; ``progress`` runs from 0 to 1 (exclusive)."""

    def found(self, rows: Sequence[int]) -> Tensor:
        """Token ids of the best prompts so far, with start, end and padding."""


class TokenSearch(Attack):
    """Searches for tokens, and draws an image of what it has at evenly spaced moments.

    An attacker with the prompt box can only type text, so there the tokens are turned into words
    and read again; with text embeddings the tokens are used as they are.
    """

    unit = "steps"
    checks: int

    def __post_init__(self) -> None:
        """Check the settings."""
        check_above_0(self)

    def run(self, trial: Trial, *, budget: int | None = None, seed: int = 0) -> AttackResult:
        """Attack, as in the base class."""
        effort, tally = effort_of(self, budget), Tally(trial)
        moments = moments_of(effort, self.checks)
        for places in batches(range(len(trial.examples))):
            search = self._search(trial, [trial.examples[place] for place in places], seed)
            for number in range(effort):
                standing = tally.standing(places)
                if not standing:
                    break
                rows = [place - places[0] for place in standing]
                search.step(number / effort, rows)
                if number + 1 in moments:
                    self._check(tally, standing, search.found(rows), number + 1)
        return tally.result(moments, prompts=True)

    def _check(self, tally: Tally, places: Sequence[int], ids: Tensor, effort: int) -> None:
        subject, examples = tally.trial.subject, tally.trial.examples
        words = subject.words(ids)
        tries = [Example(text, examples[i].seed) for text, i in zip(words, places, strict=True)]
        embeds = None if self.access == "prompt" else encode_ids(subject, ids)
        tally.show(places, tries, effort, embeds)

    @abstractmethod
    def _search(self, trial: Trial, examples: Sequence[Example], seed: int) -> Search:
        """Begin a search for a batch of examples."""


def splice(base: Tensor, tokens: Tensor) -> Tensor:
    """Put tokens right after the start of prompts; what no longer fits is cut, but for the end.

    Args:
        base: Ids or embeddings of whole prompts, ``(n, tokens)`` or ``(n, tokens, d)``.
        tokens: Ids or embeddings to put in, at most ``tokens - 2`` of them.
    """
    joined = torch.cat([base[:, :1], tokens, base[:, 1:]], dim=1)
    return torch.cat([joined[:, : base.shape[1] - 1], base[:, -1:]], dim=1)


def blank_ids(subject: Subject, n: int) -> Tensor:
    """Token ids of ``n`` blank prompts."""
    return subject.tokenize([""]).expand(n, -1)


def free_tokens(subject: Subject, wanted: int) -> int:
    """As many tokens as wanted, or as a prompt has room for."""
    return min(wanted, blank_ids(subject, 1).shape[1] - 2)


@torch.no_grad()
def encode_ids(subject: Subject, ids: Tensor) -> Tensor:
    """Text embeddings of token ids, ``(n, tokens)``."""
    table = subject.token_table
    return torch.cat(
        [subject.encode_tokens(table[part]) for part in torch.split(ids, _ENCODED_AT_ONCE)]
    )


def vocabulary(subject: Subject, without: Concept | None = None) -> Tensor:
    """Ids of the tokens an attack may use: none that is special, none that names the concept.

    A token names a concept if it is one of its prompts' tokens, or if it holds one of their words
    or three letters of it or more.
    """
    count = len(subject.token_table)
    banned = set(subject.tokenize([""]).flatten().tolist())
    if without is not None:
        banned |= set(subject.tokenize(without.prompts).flatten().tolist())
        names = {word for prompt in without.prompts for word in words_of(prompt)}
        texts = [text.strip().lower() for text in subject.words(torch.arange(count)[:, None])]
        banned |= {
            i
            for i, text in enumerate(texts)
            if any(name in text or (len(text) > 2 and text in name) for name in names)
        }
    return torch.tensor([i for i in range(count) if i not in banned])


def words_of(text: str) -> list[str]:
    """The words of a text in lower case."""
    return re.findall(r"\w+", text.lower())


def noise_of(latents: Tensor, generators: Sequence[Generator]) -> Tensor:
    """Noise of the shape of latents, one generator a row."""
    return torch.stack([torch.randn(latents.shape[1:], generator=g) for g in generators])


def as_read(subject: Subject, tokens: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """How a prompt box reads tokens typed as text, and whether only allowed ones are left then.

    Args:
        subject: Whose tokens.
        tokens: ``(n, free tokens)``.
        allowed: Ids that may be used.

    Returns:
        Ids of whole prompts ``(n, tokens)``, and ``(n,)``, bool.
    """
    ids = subject.tokenize(subject.words(tokens))
    special = blank_ids(subject, 1)[0]
    return ids, torch.isin(ids, torch.cat([allowed, special])).all(1)


def text_losses(
    subject: Subject,
    tokens: Tensor,
    allowed: Tensor,
    known: dict[tuple[int, ...], float],
    rate: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Losses of tokens as text, infinite if more than the allowed ones is read there.

    Args:
        subject: Whose text encoder.
        tokens: ``(n, free tokens)``.
        allowed: Ids that may be used.
        known: Losses so far, which are not computed again; the new ones are added.
        rate: Text embeddings ``(n, tokens, d_text)`` and ids ``(n, tokens)`` to losses ``(n,)``.

    Returns:
        ``(n,)``.
    """
    rows = [tuple(row) for row in tokens.tolist()]
    new = [row for row in dict.fromkeys(rows) if row not in known]
    if new:
        ids, clean = as_read(subject, torch.tensor(new), allowed)
        known |= dict.fromkeys(new, torch.inf)
        if clean.any():
            losses = rate(encode_ids(subject, ids[clean]), ids[clean]).tolist()
            known |= zip(compress(new, clean.tolist()), losses, strict=True)
    return torch.tensor([known[row] for row in rows])
