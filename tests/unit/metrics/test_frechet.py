import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from sepme.errors import SpecError
from sepme.metrics import METRICS, frechet_distance


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def exactly(mean: np.ndarray, covariance: np.ndarray, n: int = 400, seed: int = 0) -> Tensor:
    """Rows whose sample mean and unbiased sample covariance are these, to rounding."""
    rows = normal(n, len(mean), seed)
    rows -= rows.mean(0)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(rows.T)), rows.T).T
    return torch.from_numpy(white @ np.linalg.cholesky(covariance).T + mean)


def by_sqrtm(a: Tensor, b: Tensor) -> float:
    one, two = a.double().numpy(), b.double().numpy()
    s1, s2 = np.cov(one.T), np.cov(two.T)
    root = scipy.linalg.sqrtm(s1 @ s2)
    gap = np.square(one.mean(0) - two.mean(0)).sum()
    return float(gap + np.trace(s1) + np.trace(s2) - 2 * np.trace(root).real)


def test_two_gaussians_that_share_their_axes() -> None:
    """Closed form: ``|m1 - m2|^2 + sum (sqrt(l1) - sqrt(l2))^2``."""
    first, second = np.array([4.0, 1.0, 9.0]), np.array([1.0, 1.0, 16.0])
    turn = scipy.linalg.qr(normal(3, 3))[0]
    mean = np.array([3.0, 0.0, 4.0])
    a = exactly(np.zeros(3), turn @ np.diag(first) @ turn.T)
    b = exactly(mean, turn @ np.diag(second) @ turn.T, n=300, seed=1)
    expected = 25 + np.square(np.sqrt(first) - np.sqrt(second)).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-10)


def test_one_dimension() -> None:
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[10.0], [14.0]])
    assert frechet_distance(a, b) == pytest.approx(11**2 + (math.sqrt(2) - math.sqrt(8)) ** 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("n", "m"), [(200, 300), (40, 25)])
def test_against_scipy_sqrtm(n: int, m: int, dtype: torch.dtype) -> None:
    mix = normal(16, 16, seed=2)
    a = torch.from_numpy(normal(n, 16)).to(dtype)
    b = torch.from_numpy(normal(m, 16, seed=1) @ mix + 0.3).to(dtype)
    assert frechet_distance(a, b) == pytest.approx(by_sqrtm(a, b), rel=1e-8)


def test_against_torchmetrics() -> None:
    """What version 1.9.0 says with the identity for an extractor."""
    a = torch.from_numpy(normal(400, 256, seed=5))
    b = torch.from_numpy(normal(300, 256, seed=6) * 1.2 + 0.1)
    assert frechet_distance(a, b) == pytest.approx(130.83893259, rel=1e-9)


@pytest.mark.parametrize("n", [300, 20])  # more and fewer rows than features
@pytest.mark.parametrize("far", [0.0, 1e6])
def test_equal_sets_are_at_zero_and_a_shift_is_its_square(n: int, far: float) -> None:
    rows = torch.from_numpy(normal(n, 64)) + far
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(rows, rows + 0.5) == pytest.approx(64 * 0.25, rel=1e-6)
    assert frechet_distance(rows, rows * 1.5) > 1


def test_order_and_batches_do_not_matter() -> None:
    a, b = torch.from_numpy(normal(60, 8)), torch.from_numpy(normal(50, 8, seed=1) + 1)
    whole = frechet_distance(a, b)
    assert frechet_distance(a.flip(0), b[torch.randperm(50)]) == pytest.approx(whole, rel=1e-12)
    metric = METRICS["fid"]()
    metric.update(a[:13], b[:50])
    metric.update(a[13:], b[50:])  # one side may run out before the other
    assert metric.compute().value == pytest.approx(whole, rel=1e-12)
    assert (metric.compute().n, metric.compute().ci95) == (50, None)


def test_too_few_images_bias_it_upwards() -> None:
    """What the docstring warns of: the truth is 0 for all three."""
    few, some, many = (
        frechet_distance(*(torch.from_numpy(normal(n, 16, seed=s)) for s in (0, 1)))
        for n in (20, 200, 2000)
    )
    assert few > 5 * some > 25 * many > 0


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (torch.zeros(3), torch.zeros(3), "extractor"),
        (torch.zeros(3, 2), torch.zeros(3, 4), "extractor"),
        (torch.zeros(3, 0), torch.zeros(3, 0), "extractor"),
        (torch.zeros(1, 2), torch.zeros(3, 2), "at least 2"),
        (torch.zeros(0, 2), torch.zeros(0, 2), "at least 2"),
        (torch.full((3, 2), math.nan), torch.zeros(3, 2), "finite"),
    ],
)
def test_what_are_no_features_is_refused(a: Tensor, b: Tensor, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        frechet_distance(a, b)
