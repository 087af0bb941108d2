import pytest
import torch
from torch import nn

from sepme.attacks.classifier_guidance import ClassifierGuidance, ConceptNet, _prompts, guide
from sepme.core.attack import Example, Sampling
from tests.unit.attacks.latent_trial import tiny_trial

SMALL = ClassifierGuidance(images=6, training_steps=80, batch_size=16, width=16)


class Linear(nn.Module):
    def forward(self, latents: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        return 3 * latents.sum((1, 2, 3))


def test_the_noise_moves_against_the_gradient_as_the_formula_says() -> None:
    levels, latents = torch.tensor([0.9, 0.36]), torch.zeros(2, 1, 1, 2)
    timesteps, noise = torch.tensor([1, 1]), torch.ones(2, 1, 1, 2)
    moved = guide(Linear(), levels, 10.0)(latents, timesteps, noise)
    assert moved.flatten().tolist() == pytest.approx([1 - 0.8 * 10 * 0.5 * 3] * 4)
    assert torch.equal(guide(Linear(), levels, 0.0)(latents, timesteps, noise), noise)


def test_guidance_raises_the_odds_of_what_is_drawn(tiny_model) -> None:
    trial = tiny_trial(tiny_model)
    net, accuracy = SMALL._train(trial, 0)
    assert accuracy > 0.7
    embeds = trial.subject.encode([example.prompt for example in trial.examples])
    start = trial.subject.start_latents([example.seed for example in trial.examples])
    odds = []
    for scale in (0.0, 30.0):
        how = Sampling(steps=5, noise=guide(net, trial.subject.alphas_cumprod, scale))
        with torch.no_grad():
            drawn = trial.subject.sample(embeds, start, how)
            odds.append(float(net(drawn, torch.ones(len(drawn))).mean()))
    assert odds[1] > odds[0] + 0.5


def test_an_untrained_classifier_guesses(tiny_model) -> None:
    untrained = ClassifierGuidance(images=6, training_steps=1, learning_rate=1e-9, width=16)
    assert untrained._train(tiny_trial(tiny_model), 0)[1] < 0.7


def test_the_other_class_has_the_same_prompts_without_the_name(tiny_model) -> None:
    trial = tiny_trial(tiny_model, examples=(Example("an owl b", 0), Example("fig", 0)))
    assert _prompts(trial) == (["owl", "an owl b", "fig"], ["", "an b", ""])


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (ConceptNet.seeded(4, 8, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
