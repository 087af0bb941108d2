import pytest
import torch

from sepme.attacks.img2img import Img2Img, redraw
from sepme.errors import SpecError
from tests.unit.attacks.latent_trial import tiny_trial
from tests.unit.attacks.test_latents import plain

STEPS = 10


def test_full_strength_forgets_the_image_and_little_strength_keeps_it(tiny_model) -> None:
    trial = tiny_trial(tiny_model, steps=STEPS)
    part, subject = list(trial.examples), trial.subject
    clean = plain(trial.original, part, STEPS)
    clean = clean / clean.std()  # of the size of images, which a random network does not draw
    start = subject.start_latents([example.seed for example in part])
    usual = plain(subject, part, STEPS)
    with torch.no_grad():
        full, little = (redraw(subject, part, clean, start, s, STEPS) for s in (1.0, 0.1))
    assert (full - usual).norm() < 0.3 * (little - usual).norm()
    assert (little - clean).norm() < 0.3 * (full - clean).norm()


def test_strengths_are_evenly_spaced(tiny_model) -> None:
    found = Img2Img(weakest=0.4, strongest=0.8).run(tiny_trial(tiny_model), budget=3)
    assert [effort for effort, _ in found.curve] == pytest.approx([0.4, 0.6, 0.8])


@pytest.mark.parametrize("settings", [{"strongest": 1.2}, {"weakest": 0.5, "strongest": 0.4}])
def test_refuses_strengths_out_of_range(settings: dict) -> None:
    with pytest.raises(SpecError, match="strongest"):
        Img2Img(**settings)
