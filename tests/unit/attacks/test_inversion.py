import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator

from sepme.attacks._inversion import ddim_step, inverted, pixels_of, psnr, scrambled
from sepme.attacks._latents import signal_levels
from sepme.attacks.ddim_inversion import DDIMInversion
from sepme.attacks.null_text_inversion import NullTextInversion
from sepme.core.attack import Sampling
from tests.unit.attacks.latent_trial import tiny_trial
from tests.unit.attacks.test_latents import plain

STEPS = 10


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))


def test_a_step_is_the_sampler_s(tiny_model) -> None:
    subject = tiny_trial(tiny_model).subject
    levels, start = signal_levels(subject, 3), subject.start_latents([1])
    embeds = subject.encode(["owl"])
    with torch.no_grad():
        t = torch.tensor([subject.timesteps(3)[2]])
        noise = subject.predict_noise(start, t, embeds)
        how = Sampling(steps=3, start=2, guidance_scale=1.0)
        whole = subject.sample(embeds, start, how)
    assert torch.allclose(ddim_step(start, noise, levels[2], levels[3]), whole, atol=1e-5)
    assert not torch.allclose(ddim_step(start, noise, levels[2], levels[1]), whole, atol=1e-2)
    back = ddim_step(whole, noise, levels[3], levels[2])
    assert torch.allclose(back, start, atol=1e-4)


def error_of(subject, clean: torch.Tensor, iterations: int) -> float:
    embeds = subject.encode(["owl"] * len(clean))
    path = inverted(subject, clean, embeds, STEPS, iterations)
    assert len(path) == STEPS + 1
    with torch.no_grad():
        again = subject.sample(embeds, path[0], Sampling(steps=STEPS, guidance_scale=1.0))
    return float((again - clean).norm() / clean.norm())


@pytest.mark.slow
def test_the_original_s_own_image_comes_back_the_better_the_more_iterations(tiny_model) -> None:
    trial = tiny_trial(tiny_model, steps=STEPS)
    clean = plain(trial.original, trial.examples, STEPS)
    errors = [error_of(trial.original, clean, iterations) for iterations in (1, 3, 30)]
    assert errors[2] < 0.01
    assert errors[0] > errors[1] > errors[2]


def test_more_updates_of_the_blank_embeddings_come_nearer(tiny_model) -> None:
    trial = tiny_trial(tiny_model)
    clean = plain(trial.original, trial.examples, 5)
    errors, attack = [], NullTextInversion(learning_rate=0.05)
    for effort in (1, 20):
        found = attack._regenerate(trial.subject, trial.examples, clean, 5, effort)
        errors.append(float((found - clean).norm()))
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize("attack", [DDIMInversion(), NullTextInversion()])
def test_tells_figures_of_the_image_and_of_the_scrambled_one(tiny_model, attack) -> None:
    answers = iter([[True, False, True], [False, False, True]])
    trial = tiny_trial(tiny_model, judge=lambda images: next(answers))
    found = attack.run(trial, budget=1)
    assert found.flags == (True, False, True)
    assert found.facts["share_scrambled"] == pytest.approx(1 / 3)
    assert found.queries == 6
    assert 0 < found.facts["psnr"] < 59
    assert 0 < found.facts["psnr_scrambled"] < 59


def test_scrambling_moves_every_piece_whole(picture) -> None:
    mixed = scrambled(picture, 4, Generator().manual_seed(0))

    def cut(image):
        rows = pixels_of(image).reshape(4, 4, 4, 4, 3).transpose(0, 2, 1, 3, 4)
        return sorted(piece.tobytes() for piece in rows.reshape(16, -1))

    assert cut(mixed) == cut(picture)
    assert psnr(mixed, picture) < 12
    assert pixels_of(scrambled(picture, 1, Generator())).tobytes() == picture.tobytes()


def test_psnr_is_the_definition_and_finite_for_equal_images(picture) -> None:
    off = Image.fromarray((pixels_of(picture) // 2).astype(np.uint8))
    square = np.square(pixels_of(off).astype(float) - pixels_of(picture)).mean()
    assert psnr(off, picture) == pytest.approx(20 * math.log10(255) - 10 * math.log10(square))
    assert psnr(picture, picture) == pytest.approx(58.9, abs=0.05)
