"""Neurons that carry a concept, in a network whose carriers are known."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch
from torch import nn

from sepme.attacks.relearn import Relearn
from sepme.backends.subject import DiffusionSubject
from sepme.bench.neurons import (
    Moment,
    Probe,
    blank_outputs,
    compare,
    overlap,
    rank_correlation,
    recall,
    recorded,
    responses,
    saliency,
)
from sepme.bench.relearning import Course, plot, watch
from sepme.core.attack import Trial
from sepme.errors import SpecError
from sepme.pipeline import ErasedPipeline
from tests.tiny import TINY_CONCEPTS, null_space_shift

NEURONS, CARRIER = 50, 17


class Block(nn.Module):
    """Adds to one channel what the first number of the text says, and noise of the image to all."""

    def __init__(self, carrier: int | None) -> None:
        super().__init__()
        self.carrier = carrier

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        output = image.expand(-1, NEURONS, -1, -1).clone()
        if self.carrier is not None:
            output[:, self.carrier] += text[:, 0, 0].view(-1, 1, 1)
        return output


class Toy(nn.Module):
    """Two layers, ``a.ff`` without and ``b.ff`` with a carrier of the concept."""

    def __init__(self, carrier: int | None) -> None:
        super().__init__()
        self.a, self.b = nn.ModuleDict({"ff": Block(None)}), nn.ModuleDict({"ff": Block(carrier)})

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return self.b["ff"](self.a["ff"](image, text)[:, :1], text)


class ToySubject:
    def __init__(self, carrier: int | None) -> None:
        self.unet = Toy(carrier)

    def predict_noise(self, latents, timesteps, prompt_embeds):
        return self.unet(latents, prompt_embeds)


def answers(carrier: int | None, given: Probe) -> dict[str, torch.Tensor]:
    return responses(ToySubject(carrier), given, blank_outputs(ToySubject(CARRIER), given))


@pytest.fixture
def given() -> Probe:
    image = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return Probe(image, torch.zeros(3).long(), torch.ones(3, 2, 5), torch.zeros(3, 2, 5))


def test_finds_the_neuron_that_carries_the_concept(given: Probe) -> None:
    found = answers(CARRIER, given)
    assert list(found) == ["a.ff", "b.ff"]
    assert not found["a.ff"].any()
    carried = saliency(found["b.ff"])
    assert carried.argmax() == CARRIER
    assert (carried > 0).sum() == 1
    assert float(carried[CARRIER]) == pytest.approx(1 / float(given.latents.square().mean().sqrt()))


def test_tells_a_carrier_that_moved_from_one_that_is_gone(given: Probe) -> None:
    original = answers(CARRIER, given)
    same, moved, gone = (
        compare(answers(carrier, given), original) for carrier in (CARRIER, 3, None)
    )
    assert (same.overlap, moved.overlap) == (1, 0)
    assert same.recall["b.ff"] == pytest.approx(1)
    assert (moved.recall["b.ff"], gone.recall["b.ff"]) == (0, 0)
    assert moved.mass["b.ff"] == same.mass["b.ff"] > gone.mass["b.ff"] == 0
    assert same.cosine == pytest.approx(1)
    assert moved.cosine == gone.cosine == 0
    assert same.rank_correlation == pytest.approx(1)
    assert moved.rank_correlation < 0.1
    assert all(math.isnan(moment.recall["a.ff"]) for moment in (same, moved, gone))


def test_recall_has_a_sign_and_a_size() -> None:
    row = torch.tensor([1.0, -2.0, 0.0])
    assert recall(row, row) == 1
    assert recall(-row, row) == -1
    assert recall(row / 4, row) == 0.25
    assert recall(torch.tensor([2.0, 1.0, 5.0]), row) == 0


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_is_scipys(ties: bool) -> None:
    draw = torch.Generator().manual_seed(1)
    a, b = (torch.randn(40, generator=draw) for _ in range(2))
    if ties:
        a, b = (a * 2).round(), (b * 2).round()
    assert rank_correlation(a, b) == pytest.approx(scipy.stats.spearmanr(a, b).statistic)
    assert rank_correlation(a, b) != pytest.approx(scipy.stats.pearsonr(a, b).statistic)


def test_overlap_counts_the_top_only() -> None:
    a = torch.arange(200.0)
    assert overlap(a, a) == 1
    assert overlap(a, -a) == 0
    b = a.clone()
    b[199] = -1
    assert overlap(a, b) == 0.5  # one of the top two of 200 is left


def test_hooks_are_gone_afterwards(given: Probe) -> None:
    network = Toy(CARRIER)
    with recorded(network) as found:
        network(given.latents, given.embeds)
    assert found["b.ff"].shape == (3, NEURONS, 16)
    found.clear()
    network(given.latents, given.embeds)
    assert not found
    with pytest.raises(IndexError), recorded(network) as found:
        network(given.latents, torch.zeros(0))
    found.clear()
    network(given.latents, given.embeds)
    assert not found


def test_refuses_layers_that_are_not_there() -> None:
    with pytest.raises(SpecError, match="nowhere"), recorded(Toy(CARRIER), "nowhere"):
        pass


def moment(**recall: float) -> Moment:
    return Moment(dict.fromkeys(recall, 1.0), recall, 0.5, 0.5, 0.5)


def test_says_which_layer_returns_first() -> None:
    course = Course(
        original=moment(kept=1, early=1, late=1, never=1, mute=math.nan, tie=1),
        erased=moment(kept=0.95, early=0, late=0.5, never=0, mute=math.nan, tie=0),
        along=(
            (5, moment(kept=1, early=0.5, late=0.7, never=0.1, mute=math.nan, tie=0.6)),
            (10, moment(kept=1, early=0.4, late=0.75, never=0.49, mute=math.nan, tie=0.9)),
        ),
    )
    assert list(course.returns().items()) == [("tie", 5), ("early", 5), ("late", 10)]


@pytest.fixture
def trial(tiny_model: ErasedPipeline) -> Trial:
    scale = tiny_model.backend.sidecar.guidance_scale
    original = DiffusionSubject.snapshot(tiny_model.pipeline, guidance_scale=scale)
    tiny_model.erase(null_space_shift(tiny_model, TINY_CONCEPTS[0], size=3.0))
    erased = DiffusionSubject.snapshot(tiny_model.pipeline, guidance_scale=scale)
    return Trial(erased, original, TINY_CONCEPTS[0], lambda images: [], (), steps=2)


def test_watches_a_model_relearn(trial: Trial, tmp_path) -> None:
    course = watch(trial, Relearn(shots=(2,)), steps=5, every=2)
    assert [step for step, _ in course.along] == [2, 4, 5]
    assert course.original.cosine == pytest.approx(1)
    assert course.original.overlap == 1
    lost = [name for name, value in course.erased.recall.items() if value < 0.99]
    assert any("attn2" in name for name in lost)
    assert course.along[0][1].recall != course.erased.recall
    again = watch(trial, Relearn(shots=(2,)), steps=5, every=2)
    assert again.along[-1][1] is not course.along[-1][1]
    assert again.along[-1][1].mass == course.along[-1][1].mass
    picture = plot(course, tmp_path / "course.png")
    assert picture.startswith(b"\x89PNG")
    assert (tmp_path / "course.png").read_bytes() == picture


def test_an_unerased_model_has_lost_nothing(trial: Trial) -> None:
    whole = Trial(trial.original, trial.original, trial.concept, trial.judge, (), steps=2)
    course = watch(whole, Relearn(shots=(1,)), steps=1, every=1)
    assert course.erased.overlap == 1
    recalls = [value for value in course.erased.recall.values() if not math.isnan(value)]
    assert recalls == pytest.approx([1] * len(recalls))
    assert course.returns() == {}


@pytest.mark.parametrize("how", [{"steps": 0}, {"every": 0}])
def test_watching_takes_time(trial: Trial, how: dict) -> None:
    with pytest.raises(SpecError, match="at least 1"):
        watch(trial, **how)
