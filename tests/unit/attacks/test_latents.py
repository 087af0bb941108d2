import pytest
import torch

from sepme.attacks._latents import (
    AT_ONCE,
    batches,
    best_of,
    evenly,
    fresh_seed,
    noised,
    signal_levels,
    split_at_name,
    sweep,
    trajectory,
)
from sepme.attacks.inpainting import Inpainting
from sepme.attacks.noise import Noise
from sepme.backends.subject import DiffusionSubject
from sepme.core.attack import Example, Sampling
from sepme.core.concept import Concept
from sepme.errors import SpecError
from tests.unit.attacks.latent_trial import EXAMPLES, tiny_trial


def starts(trial):
    def draw(places, turn):
        return trial.subject.start_latents([trial.examples[place].seed for place in places])

    return draw


def plain(subject, examples, steps):
    embeds = subject.encode([example.prompt for example in examples])
    start = subject.start_latents([example.seed for example in examples])
    with torch.no_grad():
        return subject.sample(embeds, start, Sampling(steps=steps))


def test_best_of_stops_at_the_first_success(tiny_model) -> None:
    answers = iter([[False, True, False], [True, False]])
    trial = tiny_trial(tiny_model, judge=lambda images: next(answers))
    found = best_of(trial, 2, starts(trial))
    assert found.flags == (True, True, False)
    assert found.queries == 5
    assert found.curve == ((1.0, 1 / 3), (2.0, 2 / 3))


def test_a_sweep_goes_through_every_setting(tiny_model) -> None:
    answers = iter([[False, True, False], [True, False, False]])
    trial = tiny_trial(tiny_model, judge=lambda images: next(answers))
    found = sweep(trial, [0.25, 0.5], starts(trial))
    assert found.flags == (True, True, False)
    assert found.queries == 6
    assert found.curve == ((0.25, 1 / 3), (0.5, 1 / 3))


def test_a_trajectory_is_the_plain_sampler_s(tiny_model) -> None:
    subject = tiny_trial(tiny_model).subject
    half, whole = trajectory(subject, EXAMPLES, 5, [2, 5])
    assert torch.equal(whole, plain(subject, EXAMPLES, 5))
    assert not torch.equal(half, whole)


def test_every_try_has_its_own_seed() -> None:
    tries = [(Example("a", 1), 0, 0), (Example("a", 2), 0, 0), (Example("b", 1), 0, 0)]
    tries += [(Example("a", 1), 1, 0), (Example("a", 1), 0, 1)]
    assert len({fresh_seed(*one) for one in tries}) == len(tries)
    assert fresh_seed(*tries[0]) == fresh_seed(*tries[0])


def test_batches_are_full_but_for_the_last() -> None:
    assert [len(part) for part in batches(range(2 * AT_ONCE + 1))] == [AT_ONCE, AT_ONCE, 1]
    assert batches([]) == []


def test_noise_levels_of_the_ends() -> None:
    clean, noise = torch.ones(2, 1, 1, 1), torch.full((2, 1, 1, 1), 7.0)
    assert noised(clean, noise, torch.tensor([1.0, 0.0])).flatten().tolist() == [1.0, 7.0]


def test_the_last_signal_level_is_the_scheduler_s(model) -> None:
    subject = DiffusionSubject.snapshot(model.pipeline, guidance_scale=4.0)
    levels = signal_levels(subject, 5)
    final = float(model.pipeline.scheduler.final_alpha_cumprod)
    assert levels[-1] == pytest.approx(final, rel=1e-5)
    assert levels[:-1].tolist() == subject.alphas_cumprod[subject.timesteps(5)].tolist()


def test_spaces_in_equal_ratios() -> None:
    assert evenly(1.0, 16.0, 3) == pytest.approx([1.0, 4.0, 16.0])
    assert evenly(1.0, 16.0, 1) == [16.0]


def test_finds_the_longest_name_as_whole_words() -> None:
    concept = Concept("van-gogh", ("Gogh", "van Gogh"))
    assert split_at_name("an owl by Van Gogh.", concept) == ("an owl by ", ".")
    assert split_at_name("an owl by Goghian", concept) is None


@pytest.mark.parametrize("settings", [{"side": 0.0}, {"side": 1.1}])
def test_refuses_shares_out_of_range(settings: dict) -> None:
    with pytest.raises(SpecError, match="side"):
        Inpainting(**settings)


def test_refuses_lists_with_a_zero() -> None:
    with pytest.raises(SpecError, match="etas"):
        Noise(etas=(1.0, 0.0))
