"""Orders and probes on the tiny model."""

import random

import pytest
import torch

from sepme.bench import subsets
from sepme.core.compose import compose
from tests.tiny import concepts_of, null_space_shifts


@pytest.fixture
def shifts(tiny_model):
    return null_space_shifts(tiny_model, concepts_of(tiny_model, 3))


def test_all_subsets(shifts) -> None:
    names = [subsets.name_of(subset) for subset in subsets.subsets(shifts)]
    assert names == ["none", "a", "b", "c", "a+b", "a+c", "b+c", "a+b+c"]


def test_any_order_arrives(tiny_model, shifts) -> None:
    for subset in subsets.subsets(shifts):
        draw = random.Random(0)
        assert subsets.order_error(tiny_model, shifts, subset, draw=draw) == 0
    assert tiny_model.erased == ()


def test_a_wrong_arrival_is_seen(tiny_model, shifts, monkeypatch) -> None:
    """Inverse check: composing with another strength is not the same."""
    wrong = lambda base, pairs: compose(base, [(shift, 0.5) for shift, _ in pairs])  # noqa: E731
    monkeypatch.setattr(subsets, "compose", wrong)
    draw = random.Random(0)
    assert subsets.order_error(tiny_model, shifts, (shifts[0],), draw=draw) > 1e-3


def test_a_probe_sees_its_own_shift_only(tiny_model, shifts) -> None:
    concepts = concepts_of(tiny_model, 3)
    found = subsets.probe(tiny_model, concepts[0], seed=0)
    assert len(found.timesteps) == subsets.TIMESTEPS * len(concepts[0].prompts)
    assert found.change(tiny_model, []) == [0.0] * len(found.timesteps)
    assert max(found.change(tiny_model, shifts[1:])) < 1e-4
    assert min(found.change(tiny_model, shifts[:1])) > 1e-4
    again = subsets.probe(tiny_model, concepts[0], seed=0)
    assert torch.equal(found.noise, again.noise)
