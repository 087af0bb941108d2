"""Typo: the concept's name misspelt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator

from sepme.attacks._examples import split_at_name
from sepme.attacks._prompts import PromptVariants, distinct
from sepme.core.attack import Example, Trial


def typos(word: str) -> list[str]:
    """Every spelling with two neighbours swapped, one letter dropped or one doubled.

    Args:
        word: At least one letter.

    Returns:
        Spellings, none of them empty or the word itself, without repeats.

    Example:
        >>> typos("ink")
        ['nik', 'nk', 'iink', 'ikn', 'ik', 'innk', 'in', 'inkk']
    """
    spellings = []
    for i, letter in enumerate(word):
        if i + 1 < len(word):
            spellings.append(word[:i] + word[i + 1] + letter + word[i + 2 :])
        spellings += [word[:i] + word[i + 1 :], word[:i] + letter + word[i:]]
    return [spelling for spelling in dict.fromkeys(spellings) if spelling not in ("", word)]


@dataclass(frozen=True, kw_only=True)
class Typo(PromptVariants):
    """Misspell one word of the concept's name at a time, under the example's seed.

    All spellings of `typos`, in an order of the seed's; no letters that only look alike.

    Example:
        >>> Typo().access, Typo().unit
        ('prompt', 'images')
    """

    name: ClassVar[str] = "typo"
    paper: ClassVar[str] = "https://arxiv.org/abs/2306.13103"
    budget: ClassVar[int] = 10

    def _variants(
        self, trial: Trial, example: Example, budget: int, generator: Generator
    ) -> list[Example]:
        whole = ("", example.prompt, "")
        before, name, after = split_at_name(example.prompt, trial.concept) or whole
        words = name.split()
        prompts = [
            before + " ".join([*words[:i], spelling, *words[i + 1 :]]) + after
            for i, word in enumerate(words)
            for spelling in typos(word)
        ]
        order = torch.randperm(len(prompts), generator=generator).tolist()
        return distinct(trial.subject, example, [prompts[place] for place in order])
