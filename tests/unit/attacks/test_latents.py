import pytest
import torch

from sepme.attacks._latents import best_of, evenly, signal_levels, sweep
from sepme.attacks.inpainting import Inpainting
from sepme.backends.subject import DiffusionSubject
from sepme.core.attack import Sampling
from sepme.errors import SpecError
from tests.unit.attacks.latent_trial import tiny_trial


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


def test_the_last_signal_level_is_the_scheduler_s(model) -> None:
    subject = DiffusionSubject.snapshot(model.pipeline, guidance_scale=4.0)
    levels = signal_levels(subject, 5)
    final = float(model.pipeline.scheduler.final_alpha_cumprod)
    assert levels[-1] == pytest.approx(final, rel=1e-5)
    assert levels[:-1].tolist() == subject.alphas_cumprod[subject.timesteps(5)].tolist()


def test_spaces_in_equal_ratios() -> None:
    assert evenly(1.0, 16.0, 3) == pytest.approx([1.0, 4.0, 16.0])
    assert evenly(1.0, 16.0, 1) == [16.0]


@pytest.mark.parametrize("settings", [{"side": 0.0}, {"side": 1.1}])
def test_refuses_shares_out_of_range(settings: dict) -> None:
    with pytest.raises(SpecError, match="side"):
        Inpainting(**settings)
