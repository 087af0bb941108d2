import pytest
import torch

from sepme.attacks.completion import Completion, complete, trajectory
from sepme.errors import SpecError
from tests.unit.attacks.latent_trial import EXAMPLES, tiny_trial
from tests.unit.attacks.test_latents import plain


def test_with_no_step_done_it_is_the_plain_sampler_bit_for_bit(tiny_model) -> None:
    trial = tiny_trial(tiny_model)
    part, subject = list(trial.examples), trial.subject
    begun = trajectory(trial.original, part, 5, [0, 2, 5])
    with torch.no_grad():
        none, some, all_ = (
            complete(subject, part, latents, done, 5)
            for latents, done in zip(begun, (0, 2, 5), strict=True)
        )
    assert torch.equal(none, plain(subject, part, 5))
    assert torch.equal(all_, plain(trial.original, part, 5))
    assert not torch.equal(some, none)
    assert not torch.equal(some, all_)


def test_a_trajectory_is_the_plain_sampler_s(tiny_model) -> None:
    subject = tiny_trial(tiny_model).subject
    half, whole = trajectory(subject, EXAMPLES, 5, [2, 5])
    assert torch.equal(whole, plain(subject, EXAMPLES, 5))
    assert not torch.equal(half, whole)


def test_hands_over_at_evenly_spaced_steps(tiny_model) -> None:
    found = Completion(until=0.8).run(tiny_trial(tiny_model), budget=2)
    assert [effort for effort, _ in found.curve] == [2.0, 4.0]
    assert found.queries == 6


def test_does_not_draw_the_same_step_twice(tiny_model) -> None:
    found = Completion(until=0.4).run(tiny_trial(tiny_model), budget=9)
    assert [effort for effort, _ in found.curve] == [1.0, 2.0]


def test_refuses_more_than_all_steps() -> None:
    with pytest.raises(SpecError, match="until"):
        Completion(until=1.5)
