"""What every attack on latents or embeddings must do."""

import dataclasses

import pytest
import torch

from sepme.attacks import ATTACKS
from sepme.backends.subject import DiffusionSubject
from sepme.core.attack import Attack
from sepme.errors import SpecError
from tests.conformance.latent_attack_cases import CASES
from tests.unit.attacks.latent_trial import tiny_trial

every_attack = pytest.mark.parametrize(("attack", "budget"), CASES.values(), ids=CASES)


class Counted(DiffusionSubject):
    """Counts the images it decodes."""

    count = 0

    def decode(self, latents):
        Counted.count += len(latents)
        return super().decode(latents)


def always(images: list) -> list[bool]:
    return [True] * len(images)


def state(trial) -> list[torch.Tensor]:
    pipeline = trial.subject.pipeline
    modules = [trial.subject.unet, trial.original.unet, pipeline.text_encoder, pipeline.vae]
    return [weight.clone() for module in modules for weight in module.state_dict().values()]


def counted(trial):
    subject = trial.subject
    Counted.count = 0
    kept = Counted(subject.pipeline, subject.unet, subject.guidance_scale)
    return dataclasses.replace(trial, subject=kept)


@pytest.mark.parametrize("name", CASES)
def test_says_what_it_is(name: str) -> None:
    kind = ATTACKS[name]
    assert issubclass(kind, Attack)
    assert kind.name == name
    assert kind.paper.startswith("https://")
    assert kind.access in ("embedding", "image")
    assert kind.unit in ("images", "steps")
    assert kind.budget >= 1


@every_attack
def test_same_seed_same_result_weights_unchanged(tiny_model, attack, budget: int) -> None:
    trial = counted(tiny_trial(tiny_model, steps=3))
    before, random = state(trial), torch.random.get_rng_state()
    first = attack.run(trial, budget=budget, seed=4)
    assert Counted.count == first.queries > 0
    assert attack.run(trial, budget=budget, seed=4) == first
    assert all(map(torch.equal, state(trial), before))
    assert torch.equal(torch.random.get_rng_state(), random)
    assert first.flags == (False,) * len(trial.examples)
    assert all(0 <= share <= 1 for _, share in first.curve)


@every_attack
def test_a_judge_that_always_agrees_is_believed(tiny_model, attack, budget: int) -> None:
    trial = counted(tiny_trial(tiny_model, judge=always, steps=3))
    found = attack.run(trial, budget=budget)
    assert found.flags == (True,) * len(trial.examples)
    assert Counted.count == found.queries


@every_attack
def test_without_examples_there_is_nothing_to_do(tiny_model, attack, budget: int) -> None:
    found = attack.run(tiny_trial(tiny_model, examples=()), budget=budget)
    assert (found.flags, found.queries) == ((), 0)


@every_attack
def test_refuses_an_empty_budget(tiny_model, attack, budget: int) -> None:
    with pytest.raises(SpecError, match="budget"):
        attack.run(tiny_trial(tiny_model), budget=0)
