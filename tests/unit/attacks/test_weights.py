"""What attacks on the weights share."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from sepme.attacks._weights import lesson, shows, train, tunable
from sepme.attacks.lora_merge import LoraMerge, adapter_changes, merged
from sepme.attacks.quantise import Quantise, fake_quantise
from sepme.attacks.relearn import Relearn
from sepme.attacks.relearn_benign import RelearnBenign, without
from sepme.attacks.strip import Strip
from sepme.backends.subject import DiffusionSubject
from sepme.core.attack import Example, Trial
from sepme.core.concept import Concept
from sepme.errors import SpecError
from sepme.pipeline import ErasedPipeline
from tests.tiny import TINY_CONCEPTS, null_space_shift, pixels

EXAMPLES = (Example("owl", 1), Example("an owl", 2), Example("owl", 3))


def never(images: Sequence) -> list[bool]:
    return [False] * len(images)


def keeping(into: list) -> Callable[[Sequence], list[bool]]:
    """A judge that keeps what it is shown and says no."""

    def judge(images: Sequence) -> list[bool]:
        into.extend(images)
        return never(images)

    return judge


@pytest.fixture
def trial(tiny_model: ErasedPipeline) -> Trial:
    scale = tiny_model.backend.sidecar.guidance_scale
    original = DiffusionSubject.snapshot(tiny_model.pipeline, guidance_scale=scale)
    tiny_model.erase(null_space_shift(tiny_model, TINY_CONCEPTS[0], size=3.0))
    erased = DiffusionSubject.snapshot(tiny_model.pipeline, guidance_scale=scale)
    return Trial(erased, original, TINY_CONCEPTS[0], never, EXAMPLES, steps=2)


def noise(subject: DiffusionSubject) -> torch.Tensor:
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return subject.predict_noise(
            latents, torch.tensor([100, 800]), subject.encode(["owl", "a"])
        )


def loss_on(subject: DiffusionSubject, taught, draws: int = 40) -> float:
    """Diffusion loss on a lesson under fixed noise, without training."""
    generator, total = torch.Generator().manual_seed(9), 0.0
    for _ in range(draws):
        at = torch.randint(1000, (len(taught.latents),), generator=generator)
        eps = torch.randn(taught.latents.shape, generator=generator)
        kept = subject.alphas_cumprod[at].view(-1, 1, 1, 1)
        with torch.no_grad():
            said = subject.predict_noise(
                kept.sqrt() * taught.latents + (1 - kept).sqrt() * eps, at, taught.embeds
            )
        total += float((said - eps).square().mean()) / draws
    return total


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_training_lowers_the_diffusion_loss(trial: Trial, tune: str) -> None:
    taught = lesson(trial, ["owl"], 2, seed=0)
    pupil = trial.subject.with_unet(tunable(trial.subject.unet, tune, rank=4, seed=0))
    before = loss_on(pupil, taught)
    assert torch.equal(noise(pupil), noise(trial.subject))
    deque(train(pupil, taught, steps=60, learning_rate=3e-3, batch=4, seed=0), maxlen=0)
    assert loss_on(pupil, taught) < before - 1e-3
    assert not torch.equal(noise(pupil), noise(trial.subject))


def test_training_towards_wrong_noise_would_not_lower_it(trial: Trial) -> None:
    """Inverse check: the loss above tells a model that moved elsewhere."""
    taught = lesson(trial, ["owl"], 2, seed=0)
    unet = copy.deepcopy(trial.subject.unet)
    with torch.no_grad():
        unet.conv_out.bias.add_(0.5)
    assert loss_on(trial.subject.with_unet(unet), taught) > loss_on(trial.subject, taught)


def test_a_lesson_holds_what_the_original_draws(trial: Trial) -> None:
    taught = lesson(trial, ["owl", "fig"], 3, seed=0)
    assert torch.equal(taught.embeds, trial.original.encode(["owl", "fig", "owl"]))
    assert torch.equal(taught.latents, lesson(trial, ["owl", "fig"], 3, seed=0).latents)
    swapped = replace(trial, original=trial.subject)
    assert not torch.allclose(taught.latents, lesson(swapped, ["owl", "fig"], 3, seed=0).latents)
    assert not torch.allclose(taught.latents[0], taught.latents[2])


def test_draws_as_the_pipeline_does(trial: Trial, tiny_model: ErasedPipeline) -> None:
    seen: list = []
    shows(replace(trial, judge=keeping(seen)), trial.subject)
    prompts, seeds = zip(*((e.prompt, e.seed) for e in EXAMPLES), strict=True)
    expected = tiny_model.backend.generate(prompts, seeds=seeds, steps=2)
    assert torch.equal(pixels(seen), pixels(expected))


def test_relearning_reports_each_number_of_images(trial: Trial) -> None:
    seen: list = []
    result = Relearn(shots=(1, 2), checks=2).run(replace(trial, judge=keeping(seen)), budget=3)
    assert set(result.facts) == {"success_1", "success_2"}
    assert result.curve == ((2.0, 0.0), (3.0, 0.0))
    assert result.queries == len(seen) == len(EXAMPLES) * 3


def test_flags_are_those_of_the_last_step_with_most_images(trial: Trial) -> None:
    calls: list[int] = []

    def judge(images: Sequence) -> list[bool]:
        calls.append(len(images))
        return [len(calls) == 3, False, True]

    result = Relearn(shots=(2, 1), checks=2).run(replace(trial, judge=judge), budget=4)
    assert result.flags == (True, False, True)
    assert result.facts == {"success_1": 1 / 3, "success_2": 2 / 3}
    assert result.curve == ((2.0, 1 / 3), (4.0, 2 / 3))


def test_benign_training_never_names_the_concept() -> None:
    cat = Concept("cat", ("cat", "C.T"))
    prompts = ["a Cat", "a cathedral", "cat", "a c.t", "a CXT"]
    assert without(prompts, cat) == ["a cathedral", "a CXT"]
    with pytest.raises(SpecError, match="benign"):
        without(["a cat"], cat)


def test_benign_and_targeted_training_differ(trial: Trial) -> None:
    ends = []
    for attack in (Relearn(), RelearnBenign(prompts=("fig",))):
        *_, (step, pupil) = attack.course(trial, 2, steps=3, seed=0)
        assert step == 3
        ends.append(noise(pupil))
    assert not torch.equal(*ends)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 3, 3)])
def test_quantised_weights_are_near_and_few(bits: int, shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
    rounded = fake_quantise(weight, bits)
    levels = 2 ** (bits - 1) - 1
    for row, new in zip(weight.flatten(1), rounded.flatten(1), strict=True):
        scale = row.abs().max() / levels
        whole = np.round(new.numpy() / scale.numpy())
        assert np.allclose(whole * scale.numpy(), new)  # multiples of one scale a channel
        assert abs(whole).max() == levels
        assert (new - row).abs().max() <= scale / 2 * (1 + 1e-9)
    assert not torch.equal(rounded, weight)
    assert torch.allclose(fake_quantise(rounded, bits), rounded, rtol=1e-12, atol=0)


def test_quantising_leaves_vectors_alone(trial: Trial) -> None:
    (_, twin), _ = Quantise(bits=(2, 8))._copies(trial, 2, 0)
    old = dict(trial.subject.unet.named_parameters())
    changed = {n for n, w in twin.unet.named_parameters() if not torch.equal(w, old[n])}
    assert changed == {name for name, weight in old.items() if weight.ndim > 1}


def test_a_variant_that_shows_it_is_enough(trial: Trial) -> None:
    answers = iter([[True, False, False], [False, False, True]])
    result = Quantise().run(replace(trial, judge=lambda _: next(answers)))
    assert result.flags == (True, False, True)
    assert result.curve == ((4.0, 1 / 3), (8.0, 1 / 3))
    assert result.queries == 6


def test_merging_adds_what_the_adapter_does(trial: Trial) -> None:
    attack = LoraMerge(steps=3, images=2, prompt="fig")
    changes = attack._adapter(trial, seed=0)
    assert all(torch.linalg.matrix_rank(change) <= 4 for change in changes.values())
    unet = tunable(trial.original.unet, "lora", rank=4, seed=0)
    assert not any(change.any() for change in adapter_changes(unet).values())
    pupil = trial.original.with_unet(unet)
    deque(train(pupil, lesson(trial, ["fig"], 2, 0), steps=3, learning_rate=1e-3, batch=4, seed=0))
    assert torch.allclose(noise(merged(trial.original, changes, 1.0)), noise(pupil), atol=1e-5)
    assert not torch.allclose(
        noise(merged(trial.original, changes, 2.0)), noise(pupil), atol=1e-5
    )  # inverse check
    assert torch.equal(noise(merged(trial.subject, changes, 0.0)), noise(trial.subject))


def test_stripping_gives_the_original(trial: Trial) -> None:
    seen: list = []
    result = Strip().run(replace(trial, judge=keeping(seen)))
    expected: list = []
    shows(replace(trial, judge=keeping(expected)), trial.original)
    assert torch.equal(pixels(seen), pixels(expected))
    sites = sum(".attn2.to_k" in n or ".attn2.to_v" in n for n, _ in _names(trial))
    assert result.facts == {"changed_sites": sites, "changed_elsewhere": 0}


def test_stripping_sees_and_keeps_what_changed_elsewhere(trial: Trial) -> None:
    with torch.no_grad():
        trial.subject.unet.conv_out.bias.add_(1)
    assert Strip().run(trial).facts["changed_elsewhere"] == 1
    ((_, twin),) = Strip()._copies(trial, 1, 0)
    assert torch.equal(twin.unet.conv_out.bias, trial.subject.unet.conv_out.bias)


def _names(trial: Trial):
    return trial.subject.unet.named_parameters()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Relearn(shots=()),
        lambda: Relearn(shots=(0, 1)),
        lambda: Relearn(tune="half"),
        lambda: Relearn(learning_rate=0.0),
        lambda: Relearn(learning_rate=float("nan")),
        lambda: RelearnBenign(checks=0),
        lambda: Quantise(bits=(1,)),
        lambda: Quantise(bits=()),
        lambda: LoraMerge(strengths=()),
        lambda: LoraMerge(rank=0),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable) -> None:
    with pytest.raises(SpecError):
        make()
