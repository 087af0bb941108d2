import pytest
import torch

from sepme.attacks._tokens import (
    as_read,
    blank_ids,
    encode_ids,
    noise_of,
    splice,
    text_losses,
    vocabulary,
)
from sepme.core.attack import Trial
from sepme.core.concept import Concept


def test_tokens_go_between_the_start_and_the_prompt(trial: Trial) -> None:
    ids = trial.subject.tokenize(["owl"])
    extra = trial.subject.tokenize(["by"])[:, 1:3]
    assert trial.subject.words(splice(ids, extra)) == ["by owl"]
    assert torch.equal(splice(blank_ids(trial.subject, 1), ids[:, 1:4]), ids)


def test_a_prompt_that_is_too_long_keeps_its_end(trial: Trial) -> None:
    ids = trial.subject.tokenize(["owl"])
    spliced = splice(ids, ids[:, 1:4].repeat(1, 2))
    assert spliced.shape == ids.shape
    assert spliced[0, -1] == ids[0, -1]
    assert spliced[0, 0] == ids[0, 0]


def test_ids_are_encoded_as_their_words_are(trial: Trial) -> None:
    prompts = ["owl", "a fig"]
    encoded = encode_ids(trial.subject, trial.subject.tokenize(prompts))
    torch.testing.assert_close(encoded, trial.subject.encode(prompts))


def test_the_concepts_tokens_and_special_ones_are_left_out(trial: Trial) -> None:
    own = set(trial.subject.tokenize(["owl"]).flatten().tolist())
    assert not own & set(vocabulary(trial.subject, without=trial.concept).tolist())
    free = set(vocabulary(trial.subject).tolist())
    special = set(trial.subject.tokenize([""]).flatten().tolist())
    assert own - special <= free  # inverse check: they are there if nothing is left out
    assert not special & free


def test_text_that_spells_the_concept_is_told(trial: Trial) -> None:
    allowed = vocabulary(trial.subject, without=Concept("x", ("owl",)))
    tokens = trial.subject.tokenize(["owl", "fig"])[:, 1:4]
    _, clean = as_read(trial.subject, tokens, allowed)
    assert clean.tolist() == [False, True]


def test_noise_of_an_example_is_its_own() -> None:
    def draw(seeds: list[int]) -> torch.Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return noise_of(torch.ones(len(seeds), 4, 8, 8), generators)

    torch.testing.assert_close(draw([1, 2])[1:], draw([2]))
    assert not torch.allclose(draw([1, 2])[:1], draw([2]))


def test_losses_are_computed_once_and_only_of_allowed_text(trial: Trial) -> None:
    allowed = vocabulary(trial.subject, without=Concept("x", ("owl",)))
    fig, owl, own = (trial.subject.tokenize([text])[0, 1:4] for text in ("fig", "owl", "own"))
    asked: list[int] = []

    def rate(embeds: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        asked.append(len(ids))
        return embeds.square().sum((1, 2))

    known: dict[tuple[int, ...], float] = {}
    first = text_losses(trial.subject, torch.stack([fig, owl, fig]), allowed, known, rate)
    expected = float(trial.subject.encode(["fig"]).square().sum())
    assert first.tolist() == [pytest.approx(expected), torch.inf, first[0]]
    again = text_losses(trial.subject, torch.stack([owl, fig]), allowed, known, rate)
    assert again.tolist() == [torch.inf, first[0]]
    assert asked == [1]
    text_losses(trial.subject, torch.stack([fig, own]), torch.arange(999), known, rate)
    assert asked == [1, 1]  # inverse check: what is new is asked
