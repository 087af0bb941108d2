import pytest
import torch

from sepme.core.concept import Concept
from sepme.methods._context import context_of
from sepme.methods._regions import regions, timesteps_between

OPTIONS = {"images": 2, "size": 4, "batch": 2, "seed": 1}


def test_timesteps_are_those_of_the_window() -> None:
    drawn = timesteps_between(4000, 1000, torch.Generator().manual_seed(0)).float()
    assert ((drawn > 180) & (drawn < 420)).float().mean() > 0.9
    assert drawn.mean() == pytest.approx(300, abs=10)
    few = timesteps_between(4000, 100, torch.Generator().manual_seed(0)).float()
    assert few.mean() == pytest.approx(30, abs=1)


def test_a_region_is_part_of_the_image_and_follows_the_threshold(tiny_model) -> None:
    context = context_of(tiny_model, Concept("a", ("owl",), kind="object"))
    whole, half, least = (
        next(regions(tiny_model, context, **OPTIONS, threshold=share)).mask for share in (0, 0.5, 1)
    )
    assert whole.all()
    assert half.shape == (2, 8, 8)
    assert least.sum() < half.sum() < whole.sum()
    assert all(mask.any() for mask in least)


def test_the_same_seed_gives_the_same_batches(tiny_model) -> None:
    context = context_of(tiny_model, Concept("a", ("owl",), kind="object"))
    one, two = (next(regions(tiny_model, context, **OPTIONS, threshold=0.5)) for _ in range(2))
    assert all(map(torch.equal, one._tensors(), two._tensors()))
    other = next(regions(tiny_model, context, **OPTIONS | {"seed": 2}, threshold=0.5))
    assert not torch.equal(one.latents, other.latents)
    assert {tuple(columns) for columns in one.columns.tolist()} <= {
        tuple(columns) for columns in context.columns.tolist()
    }
