"""What restoring gives back, on real pipeline classes, each with its inverse check."""

import random
from collections.abc import Sequence
from itertools import combinations
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from sepme.core.compose import compose
from sepme.pipeline import ErasedPipeline
from tests.tiny import concepts_of, noise_of, null_space_shift, null_space_shifts, pixels

T = TypeVar("T")


def weights_of(model: ErasedPipeline) -> dict[str, Tensor]:
    return {site: weight.clone() for site, weight in model.backend.live().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[site], other[site]) for site in one)


def subsets(items: Sequence[T]) -> list[frozenset[T]]:
    return [frozenset(c) for n in range(len(items) + 1) for c in combinations(items, n)]


def literal_prompts(model: ErasedPipeline, *more: str) -> list[str]:
    """Blank, the watermarks, and whatever else is listed."""
    return [*more, *(prompt for concept in model.backend.known for prompt in concept.prompts)]


def test_everything_restored_is_the_original(model: ErasedPipeline) -> None:
    concepts = concepts_of(model, 3)
    prompts = [concept.prompts[0] for concept in concepts]
    pristine = {site: weight.clone() for site, weight in model.sites().items()}
    before = pixels(model.generate(prompts, seeds=[3, 4, 5], steps=5))
    model.erase(*null_space_shifts(model, concepts))
    assert not same(weights_of(model), pristine)
    assert not torch.equal(pixels(model.generate(prompts, seeds=[3, 4, 5], steps=5)), before)
    for name in (concepts[1].name, concepts[0].name, concepts[2].name):
        assert not same(weights_of(model), pristine)
        model.restore(name)
    assert same(weights_of(model), pristine)
    assert torch.equal(pixels(model.generate(prompts, seeds=[3, 4, 5], steps=5)), before)


def test_weights_depend_on_the_active_set_only(model: ErasedPipeline) -> None:
    shifts = {s.name: s for s in null_space_shifts(model, concepts_of(model))}
    cube = subsets(sorted(shifts))
    expected = {
        subset: compose(model.sites(), [(shifts[name], 1.0) for name in subset]) for subset in cube
    }
    edges = [(subset, subset | {name}) for subset in cube for name in shifts.keys() - subset]
    assert (len(cube), len(edges)) == (32, 80)
    for lower, upper in edges:
        model.erase(*(shifts[name] for name in lower))
        (name,) = upper - lower
        model.erase(shifts[name])
        assert same(weights_of(model), expected[upper])
        model.restore(name)
        assert same(weights_of(model), expected[lower])
        model.restore(*model.erased)
    distinct = {tuple(w.numpy().tobytes() for w in live.values()) for live in expected.values()}
    assert len(distinct) == 32  # inverse check: the subsets can be told apart


def test_random_sequences_end_where_the_active_set_says(model: ErasedPipeline) -> None:
    shifts = {s.name: s for s in null_space_shifts(model, concepts_of(model))}
    draw, active = random.Random(5), set[str]()
    for _ in range(60):
        name = draw.choice(sorted(shifts))
        if name in active:
            model.restore(name)
        else:
            model.erase(shifts[name])
        active ^= {name}
        assert model.erased == tuple(sorted(active))
    expected = compose(model.sites(), [(shifts[name], 1.0) for name in active])
    assert active
    assert same(weights_of(model), expected)
    assert not same(weights_of(model), dict(model.sites()))


def test_noise_on_listed_prompts_is_unchanged_by_any_sum_of_other_shifts(
    model: ErasedPipeline,
) -> None:
    concepts = concepts_of(model)
    shifts = null_space_shifts(model, concepts)
    for k, concept in enumerate(concepts):
        prompts = literal_prompts(model, *concept.prompts)
        before = noise_of(model, prompts, [])
        rest = [shift for shift in shifts if shift.name != concept.name]
        for some in subsets(rest)[1:] if k == 0 else [rest]:
            assert (noise_of(model, prompts, list(some)) - before).abs().max() < 1e-5
        moved = (noise_of(model, prompts, [shifts[k]]) - before).abs().flatten(1).amax(1)
        assert moved[0] > 1e-3  # the target is hit
        assert moved[1:].max() < 1e-5  # blank and watermarks are not


def largest_difference(model: ErasedPipeline, prompts: list[str], before: Tensor) -> list[int]:
    after = pixels(model.generate(prompts, seeds=range(len(prompts)), steps=8))
    return (after - before).abs().flatten(1).amax(1).tolist()


def test_one_restored_of_three_draws_its_original_images(model: ErasedPipeline) -> None:
    concepts = concepts_of(model, 3)
    back, *erased = concepts
    shifts = null_space_shifts(model, concepts)
    careless = [null_space_shift(model, concept, seed=7) for concept in erased]  # list no other
    prompts = literal_prompts(model, *back.prompts)
    before = pixels(model.generate(prompts, seeds=range(len(prompts)), steps=8))

    model.erase(*shifts)
    model.restore(back.name)
    assert model.erased == tuple(sorted(concept.name for concept in erased))
    assert all(back.name in shift.decoupled_from for shift in model.shifts)
    assert max(largest_difference(model, prompts, before)) <= 1

    with model.restored(*model.erased):  # inverse checks: both ways of breaking it show
        model.erase(shifts[0])
        assert largest_difference(model, prompts, before)[0] > 1
        model.restore(back.name)
        model.erase(*careless)
        assert all(back.name not in shift.decoupled_from for shift in careless)
        target, *others = largest_difference(model, prompts, before)
        assert target > 1
        assert max(others) <= 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_come_back_bit_for_bit(tiny_folder, dtype: torch.dtype) -> None:
    import sepme

    model = sepme.load(tiny_folder, dtype=dtype)
    concepts = concepts_of(model, 3)
    pristine = weights_of(model)
    assert {weight.dtype for weight in pristine.values()} == {dtype}
    model.erase(*null_space_shifts(model, concepts))
    assert not same(weights_of(model), pristine)
    model.restore(*(concept.name for concept in concepts))
    assert same(weights_of(model), pristine)
