"""What every registered attack must do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from sepme.attacks import ATTACKS
from sepme.backends.subject import DiffusionSubject
from sepme.bench.attacks import Attacks
from sepme.core.attack import Attack, AttackResult, Example, Trial
from sepme.errors import SpecError
from sepme.pipeline import ErasedPipeline
from tests.conformance.attack_cases import CASES, AttackCase
from tests.tiny import TINY_CONCEPTS, null_space_shift

EXAMPLES = (Example("owl", 1), Example("an owl", 2), Example("owl", 3))
every_attack = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


class Counting:
    """A subject that counts the images it decodes, also under another noise predictor."""

    def __init__(self, subject: DiffusionSubject, counts: list[int]) -> None:
        self._subject, self.counts = subject, counts

    def __getattr__(self, name: str):
        return getattr(self._subject, name)

    def with_unet(self, unet: torch.nn.Module) -> Counting:
        return Counting(self._subject.with_unet(unet), self.counts)

    def decode(self, latents: torch.Tensor) -> list:
        images = self._subject.decode(latents)
        self.counts.append(len(images))
        return images


def never(images: Sequence) -> list[bool]:
    return [False] * len(images)


def always(images: Sequence) -> list[bool]:
    return [True] * len(images)


def brightness(image) -> float:
    return float(np.asarray(image, np.float64).mean())


def brighter_than(limit: float) -> Callable[[Sequence], list[bool]]:
    return lambda images: [brightness(image) > limit for image in images]


def weights_of(*subjects: DiffusionSubject) -> list[torch.Tensor]:
    parts = [subject.unet for subject in subjects]
    parts += [subjects[0].pipeline.text_encoder, subjects[0].pipeline.vae]
    return [tensor.clone() for part in parts for tensor in part.state_dict().values()]


@pytest.fixture
def trial(tiny_model: ErasedPipeline) -> Trial:
    """An erased subject that counts, the original, and a judge that is never content."""
    scale = tiny_model.backend.sidecar.guidance_scale
    original = DiffusionSubject.snapshot(tiny_model.pipeline, guidance_scale=scale)
    tiny_model.erase(null_space_shift(tiny_model, TINY_CONCEPTS[0], size=3.0))
    erased = DiffusionSubject.snapshot(tiny_model.pipeline, guidance_scale=scale)
    return Trial(Counting(erased, []), original, TINY_CONCEPTS[0], never, EXAMPLES, steps=2)


def run(case: AttackCase, trial: Trial, **how) -> AttackResult:
    return case.attack.run(trial, budget=case.budget, **how)


def test_every_attack_has_a_case() -> None:
    assert set(CASES) == set(ATTACKS)
    assert all(type(case.attack) is ATTACKS[name] for name, case in CASES.items())


def test_six_attacks_are_the_default_profile() -> None:
    cheap = {name for name in ATTACKS if ATTACKS[name].cheap}
    assert cheap == {"best-of-n", "completion", "noise", "paraphrase", "quantise", "typo"}
    assert Attacks().chosen == tuple(sorted(cheap))
    assert len(Attacks(full=True).chosen) == len(ATTACKS)  # inverse check: the profile is a choice


@every_attack
def test_says_what_it_is(case: AttackCase) -> None:
    kind = type(case.attack)
    assert issubclass(kind, Attack)
    assert ATTACKS[kind.name] is kind
    assert kind.paper.startswith("https://")
    assert kind.access in ("prompt", "embedding", "image", "weights")
    assert kind.unit in ("images", "steps")
    assert kind.budget >= 1
    assert isinstance(kind.cheap, bool)
    assert isinstance(kind.control, bool)
    assert kind.__doc__


@every_attack
def test_same_seed_same_result(case: AttackCase, trial: Trial) -> None:
    assert run(case, trial, seed=4) == run(case, trial, seed=4)


@every_attack
def test_leaves_weights_and_randomness_alone(case: AttackCase, trial: Trial) -> None:
    models = (trial.subject, trial.original)
    before, random_state = weights_of(*models), torch.get_rng_state()
    run(case, trial)
    assert all(map(torch.equal, weights_of(*models), before))
    assert all(p.grad is None for model in models for p in model.unet.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    with torch.no_grad():  # inverse check: the comparison sees a changed weight
        next(trial.subject.unet.parameters()).add_(1)
    assert not all(map(torch.equal, weights_of(*models), before))


@every_attack
def test_one_flag_an_example(case: AttackCase, trial: Trial) -> None:
    failed = run(case, trial)
    assert failed.flags == (False,) * len(EXAMPLES)
    assert len(failed.prompts) in (0, len(EXAMPLES))
    assert run(case, replace(trial, judge=always)).flags == (True,) * len(EXAMPLES)


@every_attack
def test_success_ends_the_attack(case: AttackCase, trial: Trial) -> None:
    assert run(case, replace(trial, judge=always)).queries <= run(case, trial).queries


@every_attack
@pytest.mark.parametrize("judge", [never, always])
def test_counts_the_images_it_draws(case: AttackCase, trial: Trial, judge: Callable) -> None:
    result = run(case, replace(trial, judge=judge))
    assert result.queries == sum(trial.subject.counts)
    assert result.queries >= len(EXAMPLES)


@every_attack
def test_nothing_to_attack(case: AttackCase, trial: Trial) -> None:
    result = run(case, replace(trial, examples=()))
    assert (result.flags, result.queries, result.prompts) == ((), 0, ())


@every_attack
def test_flags_are_in_the_order_of_the_examples(case: AttackCase, trial: Trial) -> None:
    if not case.independent:
        pytest.skip("examples are attacked together")
    seen: list[float] = []

    def watching(images: Sequence) -> list[bool]:
        seen.extend(map(brightness, images))
        return never(images)

    run(case, replace(trial, judge=watching))
    second, first = sorted(set(seen))[-2:]
    judge = brighter_than((first + second) / 2)
    forwards = run(case, replace(trial, judge=judge)).flags
    assert sum(forwards) == 1  # one image is bright enough, so the order can be wrong
    backwards = run(case, replace(trial, judge=judge, examples=EXAMPLES[::-1])).flags
    assert backwards == forwards[::-1]


@every_attack
def test_the_curve_ends_where_the_flags_say(case: AttackCase, trial: Trial) -> None:
    for judge, share in ((never, 0.0), (always, 1.0)):
        curve = run(case, replace(trial, judge=judge)).curve
        assert list(curve) == sorted(curve)
        assert [y for _, y in curve] == sorted(y for _, y in curve)
        assert not curve or curve[-1][1] == share


@every_attack
@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_below_one_is_refused(case: AttackCase, trial: Trial, budget: int) -> None:
    with pytest.raises(SpecError, match="budget"):
        case.attack.run(trial, budget=budget)
    assert not trial.subject.counts
