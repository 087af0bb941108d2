import re

import pytest
import torch

from sepme.attacks._prompts import distinct
from sepme.attacks.best_of_n import BestOfN
from sepme.attacks.paraphrase import FRAMES, Paraphrase, namings
from sepme.attacks.typo import Typo, typos
from sepme.core.attack import Example, Trial
from sepme.demo.templates import TEMPLATES


def test_what_reads_the_same_is_tried_once(trial: Trial) -> None:
    tried = distinct(trial.subject, Example("owl", 7), ["OWL", "owls", "Owls", "fig"])
    assert tried == [Example("owls", 7), Example("fig", 7)]


def test_typos_are_one_edit_away() -> None:
    word = "gogh"
    for spelling in typos(word):
        assert spelling != word
        assert abs(len(spelling) - len(word)) <= 1
        assert set(spelling) <= set(word)
    assert len(set(typos(word))) == len(typos(word))
    assert {"oggh", "ggh", "googh"} <= set(typos(word))


def test_only_the_name_is_misspelt(trial: Trial) -> None:
    example = Example("an owl", 2)
    tried = Typo()._variants(trial, example, 99, torch.Generator().manual_seed(0))
    assert len(tried) > 5
    assert all(item.prompt.startswith("an ") and item.seed == 2 for item in tried)
    assert all(item.prompt != "an owl" for item in tried)


def test_other_seeds_of_the_same_prompt(trial: Trial) -> None:
    tried = BestOfN()._variants(trial, Example("owl", 1), 5, torch.Generator().manual_seed(0))
    assert {item.prompt for item in tried} == {"owl"}
    assert 1 not in {item.seed for item in tried}
    assert len({item.seed for item in tried}) >= 5


def test_wordings_hold_the_name_and_the_seed(trial: Trial) -> None:
    tried = Paraphrase()._variants(trial, Example("owl", 1), 99, torch.Generator())
    assert len(tried) >= 3
    assert all("owl" in item.prompt.lower() and item.seed == 1 for item in tried)


@pytest.mark.parametrize("name", ["Van Gogh", "owl"])
def test_namings_differ_from_the_name(name: str) -> None:
    wordings = namings(name)
    assert name not in wordings
    assert len(set(wordings)) == len(wordings)
    assert all(word.lower() in " ".join(wordings).lower() for word in name.split())


def shape(template: str) -> str:
    """A template without what fills it."""
    return " ".join(re.sub(r"\{\w+\}", "_", template).lower().split())


def test_no_frame_is_a_template_of_the_demo() -> None:
    known = {shape(t) for split in TEMPLATES.values() for slot in split.values() for t in slot}
    frames = {shape(frame) for kind in FRAMES.values() for frame in kind}
    assert not frames & known
    assert shape("a {object} painted by {style}") in known  # inverse check: one would be seen
