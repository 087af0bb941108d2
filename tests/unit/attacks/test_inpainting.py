import torch

from sepme.attacks.inpainting import Inpainting, centre, inpaint
from tests.unit.attacks.latent_trial import tiny_trial
from tests.unit.attacks.test_latents import plain


def filled(trial, known: torch.Tensor, side: float = 0.5) -> torch.Tensor:
    part = list(trial.examples)
    embeds = trial.subject.encode([example.prompt for example in part])
    start = trial.subject.start_latents([example.seed for example in part])
    with torch.no_grad():
        return inpaint(trial.subject, embeds, known, start, side, 5)


def test_keeps_the_border_and_draws_the_centre(tiny_model) -> None:
    trial = tiny_trial(tiny_model)
    known = plain(trial.original, trial.examples, 5)
    found, new = filled(trial, known), centre(known, 0.5)
    assert torch.equal(found[..., ~new], known[..., ~new])
    assert not torch.isclose(found[..., new], known[..., new]).all(0).any()


def test_a_centre_as_large_as_the_image_is_the_plain_sampler(tiny_model) -> None:
    trial = tiny_trial(tiny_model)
    known = plain(trial.original, trial.examples, 5)
    assert torch.equal(filled(trial, known, 1.0), plain(trial.subject, trial.examples, 5))


def test_the_centre_depends_on_the_border_but_not_on_what_was_there(tiny_model) -> None:
    trial = tiny_trial(tiny_model)
    known = plain(trial.original, trial.examples, 5)
    new = centre(known, 0.5)
    usual = filled(trial, known)[..., new]
    assert torch.equal(filled(trial, torch.where(new, 9.0, known))[..., new], usual)
    assert not torch.equal(filled(trial, torch.where(new, known, 9.0))[..., new], usual)


def test_the_centre_has_the_side_asked_for() -> None:
    assert centre(torch.zeros(1, 4, 16, 16), 0.5).sum() == 64
    assert centre(torch.zeros(1, 4, 8, 12), 0.5).sum() == 24


def test_tells_what_the_border_does_alone(tiny_model) -> None:
    always = Inpainting().run(
        tiny_trial(tiny_model, judge=lambda images: [True] * len(images)), budget=3
    )
    assert always.facts == {"share_blank": 1.0}
    assert always.queries == 6
