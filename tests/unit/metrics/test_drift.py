import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import euclidean

from sepme.core.metric import Score
from sepme.errors import SepmeError
from sepme.metrics import (
    METRICS,
    feature_distance,
    largest_difference,
    median_interval,
    psnr,
)


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def test_psnr_against_a_loop() -> None:
    a, b = image(0), image(1)
    squares = [(int(x) - int(y)) ** 2 for x, y in zip(a.flat, b.flat, strict=True)]
    assert psnr(a, b) == pytest.approx(20 * math.log10(255) - 10 * math.log10(np.mean(squares)))


def test_psnr_known_answers() -> None:
    a = np.zeros((4, 4), np.uint8)
    assert psnr(a, a + np.uint8(1)) == pytest.approx(48.1308, abs=1e-4)  # mse 1
    assert psnr(a, a) == math.inf


def test_the_difference_does_not_wrap_around() -> None:
    black, white = np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)
    assert largest_difference(black, white) == largest_difference(white, black) == 255
    assert (black - white).max() == 1  # inverse check: uint8 arithmetic would have wrapped


def test_largest_difference_sees_one_channel_of_one_pixel() -> None:
    a = image(0)
    b = a.copy()
    assert largest_difference(a, b) == 0
    b[3, 4, 1] ^= 1
    assert largest_difference(a, b) == 1


@pytest.mark.parametrize("function", [psnr, largest_difference])
@pytest.mark.parametrize(
    "other", [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8)], ids=["dtype", "shape"]
)
def test_unlike_images_are_refused(function, other) -> None:
    with pytest.raises(SepmeError, match="one shape"):
        function(image(0), other)


def test_no_pixels_are_refused() -> None:
    with pytest.raises(SepmeError):
        psnr(np.zeros((0, 3), np.uint8), np.zeros((0, 3), np.uint8))


def test_feature_distance_against_scipy() -> None:
    a, b = torch.randn(5, 7), torch.randn(5, 7)
    expected = [
        2 * euclidean(x, y) / (np.linalg.norm(x) + np.linalg.norm(y))
        for x, y in zip(a.double().numpy(), b.double().numpy(), strict=True)
    ]
    assert feature_distance(a, b).tolist() == pytest.approx(expected)
    assert feature_distance(b, a).tolist() == pytest.approx(expected)


def test_feature_distance_of_equal_rows_is_zero_even_for_zeros() -> None:
    rows = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    assert feature_distance(rows, rows).tolist() == [0.0, 0.0]
    assert feature_distance(rows, rows + 1).min() > 0


@pytest.mark.parametrize("bad", [torch.full((2, 2), math.nan), torch.zeros(2, 3)])
def test_feature_distance_refuses(bad: torch.Tensor) -> None:
    with pytest.raises(SepmeError):
        feature_distance(torch.zeros(2, 2), bad)


def test_pairs_are_summed_up_by_their_median() -> None:
    images = [image(seed) for seed in range(8)]
    others = [image(seed + 100) for seed in range(7)] + [images[7]]
    values = sorted(psnr(a, b) for a, b in zip(images, others, strict=True))
    metric = METRICS["psnr"]()
    metric.update(images, others)
    assert metric.compute() == Score((values[3] + values[4]) / 2, 8, (values[0], math.inf))


def test_the_largest_difference_is_that_of_any_pair() -> None:
    one = image(0)
    two = one.copy()
    two[0, 0, 0] ^= 64
    metric = METRICS["largest_difference"]()
    metric.update([one, one], [one, two])
    metric.update([one], [one])
    assert metric.compute() == Score(64, 3)


def test_feature_distance_keeps_a_row_per_image() -> None:
    a, b = torch.randn(9, 4), torch.randn(9, 4)
    metric = METRICS["feature_distance"]()
    metric.update(a, b)
    values = sorted(feature_distance(a, b).tolist())
    assert metric.compute() == Score(values[4], 9, median_interval(values))
    with pytest.raises(SepmeError, match="matrices"):
        metric.update(a, b[:5])
