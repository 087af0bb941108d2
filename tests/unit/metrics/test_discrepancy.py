import math
from itertools import permutations, product

import numpy as np
import pytest
import torch
from torch import Tensor

from sepme.errors import SpecError
from sepme.metrics import METRICS, cmmd, gaussian_kernel, kid, mmd


def normal(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)))


def by_loops(a: Tensor, b: Tensor, k) -> float:
    """Means over ordered pairs of different rows, pair by pair."""
    within = [np.mean([k(x, y) for x, y in permutations(rows, 2)]) for rows in (a, b)]
    return sum(within) - 2 * np.mean([k(x, y) for x, y in product(a, b)])


def cubic(x: Tensor, y: Tensor) -> float:
    return (float(x @ y) / len(x) + 1) ** 3


def far_gaussian(x: Tensor, y: Tensor) -> float:
    return 1000 * math.exp(-float((x - y).square().sum()) / 200)


def test_kid_and_cmmd_against_loops() -> None:
    a, b = normal(9, 4), normal(7, 4, seed=1) + 1
    assert kid(a, b).value == pytest.approx(by_loops(a, b, cubic))
    ones = [rows / rows.norm(dim=1, keepdim=True) for rows in (a, b)]
    assert cmmd(a, b).value == pytest.approx(by_loops(*ones, far_gaussian))
    assert (kid(a, b).n, kid(a, b).ci95) == (7, None)  # too few for an interval


def test_many_rows_are_summed_in_parts() -> None:
    a, b = normal(2100, 2) * torch.tensor([1.0, 5.0]), normal(1030, 2, seed=1)
    tables = [(x @ y.T / 2 + 1) ** 3 for x, y in ((a, a), (b, b), (a, b))]
    within = [(t.sum() - t.trace()) / (len(t) ** 2 - len(t)) for t in tables[:2]]
    assert kid(a, b).value == pytest.approx(float(sum(within) - 2 * tables[2].mean()), rel=1e-9)


def test_kid_against_torchmetrics() -> None:
    """What ``poly_mmd`` of version 1.9.0 says."""
    a, b = normal(80, 32, seed=5), normal(80, 32, seed=6) * 1.2 + 0.1
    assert kid(a, b).value == pytest.approx(0.09987893950800153, rel=1e-9)


def kid_of_gaussians(shift: float, d: int) -> float:
    """KID of N(0, I) and N(shift, I) in closed form, from the moments of ``x . y / d``."""

    def third(m: float, s: float) -> float:
        mean, square, cube = m * s, (1 + m**2) * (1 + s**2), (m**3 + 3 * m) * (s**3 + 3 * s)
        variance, skew = (square - mean**2) / d, (cube - 3 * mean * square + 2 * mean**3) / d**2
        return skew + 3 * mean * variance + mean**3 + 3 * (variance + mean**2) + 3 * mean + 1

    return third(0, 0) + third(shift, shift) - 2 * third(0, shift)


def test_kid_of_two_gaussians_in_closed_form() -> None:
    assert kid_of_gaussians(1, 1) == 4**2 + 3 * 1 + 3 * 1  # (dm3)^2 + 3 (dm2)^2 + 3 (dm1)^2
    score = kid(normal(3000, 4), normal(3000, 4, 1) + 0.8)
    assert score.ci95[0] < kid_of_gaussians(0.8, 4) < score.ci95[1]
    assert score.value == pytest.approx(kid_of_gaussians(0.8, 4), rel=0.1)
    assert not score.ci95[0] < kid_of_gaussians(1.0, 4) < score.ci95[1]  # inverse check


def test_gaussian_discrepancy_of_two_gaussians_in_closed_form() -> None:
    d, h, gap = 3, 1.5, 2.0
    shrink = (h**2 / (h**2 + 2)) ** (d / 2)
    truth = 2 * shrink * (1 - math.exp(-(gap**2) / (2 * (h**2 + 2))))
    shift = torch.tensor([gap, 0.0, 0.0])
    score = mmd(normal(2000, d), normal(2000, d, 1) + shift, lambda x, y: gaussian_kernel(x, y, h))
    assert score.ci95[0] < truth < score.ci95[1]
    assert score.value == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize("distance", [kid, cmmd])
def test_unbiased_at_equal_distributions(distance) -> None:
    scores = [distance(normal(48, 8, k), normal(48, 8, 1000 + k)) for k in range(100)]
    values = np.array([score.value for score in scores])
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(len(values))
    assert 0.2 < (values < 0).mean() < 0.8
    assert np.mean([score.ci95[0] <= 0 <= score.ci95[1] for score in scores]) >= 0.95
    shifted = [distance(normal(48, 8, k), normal(48, 8, 1000 + k) + 0.7) for k in range(20)]
    assert min(score.ci95[0] for score in shifted) > 0


def test_identical_sets_are_at_zero_but_for_the_pairs_left_out() -> None:
    """A row is a pair with its twin in the other set, but not with itself: -2/n of the excess."""
    rows = normal(500, 8)
    every = (rows @ rows.T / 8 + 1) ** 3
    left_out = float(every.diagonal().mean() - (every.sum() - every.trace()) / (500 * 499))
    assert kid(rows, rows).value == pytest.approx(-2 * left_out / 500)
    assert abs(kid(rows, rows).value) < 0.05 < kid(rows, rows + 1).value


def test_cmmd_differs_from_the_published_codes_by_what_the_docstring_says() -> None:
    a, b = normal(30, 6), normal(20, 6, seed=1) + 1
    ones = [rows / rows.norm(dim=1, keepdim=True) for rows in (a, b)]
    tables = [1000 * gaussian_kernel(x, y, 10.0) for x, y in (ones[:1] * 2, ones[1:] * 2, ones)]
    biased = float(tables[0].mean() + tables[1].mean() - 2 * tables[2].mean())
    off = [float((t.sum() - t.trace()) / (len(t) ** 2 - len(t))) for t in tables[:2]]
    excess = (1000 - off[0]) / 30 + (1000 - off[1]) / 20
    assert cmmd(a, b).value == pytest.approx(biased - excess)


def test_cmmd_known_answer_and_scale() -> None:
    a, b = torch.eye(4)[[0] * 12], torch.eye(4)[[1] * 12]
    expected = 2000 * (1 - math.exp(-2 / 200))
    assert cmmd(a, b).value == pytest.approx(expected)
    assert cmmd(a, b).ci95 == pytest.approx((expected, expected))
    assert cmmd(7 * a, 0.1 * b).value == pytest.approx(expected)  # lengths do not matter
    with pytest.raises(SpecError, match="zero row"):
        cmmd(a, 0 * b)


@pytest.mark.parametrize("name", ["kid", "cmmd"])
def test_order_and_batches_change_neither_value_nor_interval(name: str) -> None:
    a, b = normal(40, 6).float(), normal(33, 6, seed=1).float() + 1
    whole, parts = METRICS[name](), METRICS[name]()
    whole.update(a, b)
    for start in range(0, 40, 7):
        parts.update(a.flip(0)[start : start + 7], b.roll(5, 0)[start : start + 7])
    assert parts.compute() == whole.compute()
    other = METRICS[name]()
    other.update(a, b + 0.01)
    assert other.compute() != whole.compute()


def test_the_interval_covers_narrows_and_is_fixed_by_its_seed() -> None:
    widths = []
    for n in (24, 96):
        scores = [kid(normal(n, 16, k), normal(n, 16, 500 + k) + 0.3) for k in range(100)]
        truth = kid_of_gaussians(0.3, 16)
        covered = np.mean([s.ci95[0] <= truth <= s.ci95[1] for s in scores])
        assert covered >= 0.9
        widths.append(np.mean([s.ci95[1] - s.ci95[0] for s in scores]))
    assert widths[1] < 0.7 * widths[0]
    a, b = normal(24, 4), normal(24, 4, 1)
    assert kid(a, b) == kid(a, b)
    assert kid(a, b, seed=1).value == pytest.approx(kid(a, b).value, rel=1e-9)
    assert kid(a, b, seed=1).ci95 != kid(a, b).ci95


@pytest.mark.parametrize("blocks", [2, 10, 1000])
def test_blocks_change_the_interval_only(blocks: int) -> None:
    a, b = normal(30, 4), normal(25, 4, 1) + 1

    def dot(x: Tensor, y: Tensor) -> Tensor:
        return x @ y.T

    assert mmd(a, b, dot, blocks=blocks).value == pytest.approx(mmd(a, b, dot).value)
    with pytest.raises(SpecError, match="2 blocks"):
        mmd(a, b, dot, blocks=1)


@pytest.mark.parametrize("distance", [kid, cmmd])
def test_what_are_no_features_is_refused(distance) -> None:
    for a, b in (
        (torch.ones(1, 2), torch.ones(3, 2)),
        (torch.ones(3, 2), torch.ones(3, 4)),
        (torch.full((3, 2), math.inf), torch.ones(3, 2)),
    ):
        with pytest.raises(SpecError):
            distance(a, b)
