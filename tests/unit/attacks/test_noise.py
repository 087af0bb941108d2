import dataclasses

import pytest
import torch
from torch import Generator

from sepme.attacks._latents import signal_levels
from sepme.attacks.noise import Noise, _more_noise
from tests.unit.attacks.latent_trial import tiny_trial
from tests.unit.attacks.test_latents import plain


def drawn_by(attack: Noise, trial, budget: int) -> list[torch.Tensor]:
    """What the attack gives to be decoded."""
    seen: list[torch.Tensor] = []

    class Watched(type(trial.subject)):
        def decode(self, latents):
            seen.append(latents)
            return super().decode(latents)

    subject = trial.subject
    watched = Watched(subject.pipeline, subject.unet, subject.guidance_scale)
    attack.run(dataclasses.replace(trial, subject=watched), budget=budget)
    return seen


def test_tries_differ_and_go_around_the_grid(tiny_model) -> None:
    trial = tiny_trial(tiny_model)
    first, second, third = drawn_by(Noise(etas=(1.0,), scales=(1.0, 1.5)), trial, 3)
    assert not torch.equal(first, second)
    assert not torch.equal(first, third)


def test_no_eta_to_speak_of_is_the_plain_sampler(tiny_model) -> None:
    trial = tiny_trial(tiny_model)
    usual = plain(trial.subject, trial.examples, trial.steps)
    (little,) = drawn_by(Noise(etas=(1e-6,), scales=(1.0,)), trial, 1)
    (much,) = drawn_by(Noise(etas=(1.0,), scales=(1.0,)), trial, 1)
    assert (little - usual).abs().max() < 1e-3
    assert (much - usual).abs().max() > 0.1


@pytest.mark.parametrize("scale", [1.5, 2.0])
def test_the_scale_is_that_of_the_standard_deviation(tiny_model, scale: float) -> None:
    subject, eta = tiny_trial(tiny_model).subject, 1.2
    after = _more_noise(subject, 5, eta, scale, Generator().manual_seed(0))
    added = after(torch.zeros(200, 4, 8, 8), 601).std() ** 2
    now, then = signal_levels(subject, 5)[:2]
    sigma = eta * ((1 - then) / (1 - now) * (1 - now / then)).sqrt()
    assert (added + sigma**2).sqrt() == pytest.approx(float(scale * sigma), rel=0.02)
    assert _more_noise(subject, 5, eta, 1.0, Generator()) is None
