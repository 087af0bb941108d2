"""What every attack does with its examples."""

import pytest
import torch

from sepme.attacks._examples import (
    AT_ONCE,
    Tally,
    batches,
    drawn,
    moments_of,
    new_examples,
    noised,
    plain_images,
    plain_latents,
    seed_of,
    split_at_name,
)
from sepme.attacks.lora_merge import LoraMerge
from sepme.attacks.noise import Noise
from sepme.attacks.relearn import Relearn
from sepme.core.attack import Example, Sampling
from sepme.core.concept import Concept
from sepme.errors import SpecError
from sepme.pipeline import ErasedPipeline
from tests.tiny import pixels
from tests.unit.attacks.latent_trial import EXAMPLES, tiny_trial

VAN_GOGH = Concept("van-gogh", ("Van Gogh", "Vincent van Gogh"), kind="style")


def test_every_try_has_its_own_seed() -> None:
    tries = [(Example("a", 1), 0, 0), (Example("a", 2), 0, 0), (Example("b", 1), 0, 0)]
    tries += [(Example("a", 1), 1, 0), (Example("a", 1), 0, 1)]
    assert len({seed_of(*one) for one in tries}) == len(tries)
    assert seed_of(*tries[0]) == seed_of(*tries[0])


def test_new_examples_take_prompts_in_turn_under_their_own_seeds() -> None:
    made = new_examples(["a", "b"], 5, seed=0)
    assert [example.prompt for example in made] == ["a", "b", "a", "b", "a"]
    assert len({example.seed for example in made}) == 5
    assert made == new_examples(["a", "b"], 5, seed=0)
    assert made != new_examples(["a", "b"], 5, seed=1)


def test_batches_are_full_but_for_the_last() -> None:
    assert [len(part) for part in batches(range(2 * AT_ONCE + 1))] == [AT_ONCE, AT_ONCE, 1]
    assert batches([]) == []


def test_moments_end_at_the_end_and_none_comes_twice() -> None:
    assert moments_of(100, 3) == [34, 67, 100]
    assert moments_of(2, 5) == [1, 2]


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a cow by van gogh, small", ("a cow by ", "van gogh", ", small")),
        ("by Vincent van Gogh", ("by ", "Vincent van Gogh", "")),
        ("a caravan goghs", None),
    ],
)
def test_the_longest_name_is_found_as_whole_words(
    prompt: str, parts: tuple[str, str, str] | None
) -> None:
    assert split_at_name(prompt, VAN_GOGH) == parts


def test_noise_levels_of_the_ends() -> None:
    clean, noise = torch.ones(2, 1, 1, 1), torch.full((2, 1, 1, 1), 7.0)
    assert noised(clean, noise, torch.tensor([1.0, 0.0])).flatten().tolist() == [1.0, 7.0]


def test_plain_images_are_the_pipeline_s_in_every_batch(tiny_model: ErasedPipeline) -> None:
    subject = tiny_trial(tiny_model).subject
    examples = [Example("owl", seed) for seed in range(AT_ONCE + 1)]
    prompts, seeds = [example.prompt for example in examples], [e.seed for e in examples]
    expected = pixels(tiny_model.backend.generate(prompts, seeds=seeds, steps=2))
    assert torch.allclose(pixels(plain_images(subject, examples, 2)), expected, atol=1 / 255)
    swapped = plain_images(subject, examples[::-1], 2)
    assert not torch.allclose(pixels(swapped), expected, atol=1 / 255)  # inverse check: order


def test_other_embeddings_take_the_place_of_the_prompt(tiny_model: ErasedPipeline) -> None:
    subject, how = tiny_trial(tiny_model).subject, Sampling(steps=2)
    usual = plain_latents(subject, EXAMPLES, 2)
    own = subject.encode([example.prompt for example in EXAMPLES])
    assert torch.equal(drawn(subject, EXAMPLES, how, own), usual)
    assert not torch.equal(drawn(subject, EXAMPLES, how, own.flip(0)), usual)


def test_a_tally_counts_who_fell_and_what_for(tiny_model: ErasedPipeline) -> None:
    answers = iter([[False, True, False], [True, False]])
    tally = Tally(tiny_trial(tiny_model, judge=lambda images: next(answers), steps=2))
    tally.show([0, 1, 2], EXAMPLES, 1)
    assert tally.standing(range(3)) == [0, 2]
    tally.show([0, 2], [Example("b", 1), Example("c", 3)], 4)
    found = tally.result([1, 4], prompts=True)
    assert found.flags == (True, True, False)
    assert found.queries == 5
    assert found.curve == ((1.0, 1 / 3), (4.0, 2 / 3))
    assert found.prompts == ("b", "owl b", "c")
    assert tally.result([4]).prompts == ()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Noise(etas=(1.0, 0.0)), "etas"),
        (lambda: Noise(scales=()), "scales"),
        (lambda: Relearn(learning_rate=float("nan")), "learning_rate"),
        (lambda: LoraMerge(rank=-1), "rank"),
    ],
)
def test_settings_that_are_not_above_0_are_refused(make, name: str) -> None:
    with pytest.raises(SpecError, match=name):
        make()


def test_settings_that_are_no_numbers_are_not_compared() -> None:
    assert Relearn(learning_rate=None).tune == "full"
    assert LoraMerge(prompt="").prompt == ""
