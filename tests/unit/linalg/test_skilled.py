"""Weights that a target needs more than the base does, against a plain loop."""

import numpy as np
import pytest
import torch

from sepme.linalg.skilled import skilled


def plain(weight, target, base, count: int) -> np.ndarray:
    found = np.zeros(weight.shape, bool)
    for wanted, other in zip(target, base, strict=True):
        for i, row in enumerate(np.abs(weight)):
            for j in np.argsort(-row * wanted)[:count]:
                found[i, j] |= row[j] * wanted[j] > row[j] * other[j]
    return found


@pytest.mark.parametrize(("ratio", "count"), [(1e-9, 1), (0.1, 2), (0.5, 10), (1.0, 20)])
def test_agrees_with_a_plain_loop(ratio: float, count: int) -> None:
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(7, 20, generator=draw)
    target, base = torch.rand(2, 3, 20, generator=draw).unbind()
    ours = skilled(weight, target, base, ratio=ratio)
    assert np.array_equal(ours.numpy(), plain(weight.numpy(), target.numpy(), base.numpy(), count))
    assert 0 < ours.sum() < ours.numel()  # inverse check: some are, some are not


def test_a_planted_feature_is_found_and_a_shared_one_is_spared() -> None:
    weight, calm = torch.ones(4, 30), torch.full((2, 30), 0.1)
    target, base = calm.clone(), calm.clone()
    target[:, [3, 8]] = 5.0
    base[:, 8] = 5.0
    found = skilled(weight, target, base, ratio=2 / 30)
    assert found[:, 3].all()
    assert found.sum() == 4
    assert not skilled(weight, base, target, ratio=2 / 30)[:, 3].any()  # inverse check


def test_timesteps_are_united() -> None:
    weight, base = torch.ones(2, 5), torch.zeros(2, 5)
    target = torch.eye(5)[:2]
    found = skilled(weight, target, base, ratio=0.2)
    assert found.nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert skilled(weight, target[:1], base[:1], ratio=0.2).sum() == 2


def test_nothing_is_skilled_where_both_are_alike() -> None:
    same = torch.rand(3, 5, generator=torch.Generator().manual_seed(0))
    assert not skilled(torch.ones(2, 5), same, same, ratio=1.0).any()
