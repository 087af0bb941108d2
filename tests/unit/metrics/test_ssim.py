import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from sepme.errors import SepmeError, SpecError
from sepme.metrics import ssim

C1, C2 = 2.55**2, 7.65**2


def pair(shape: tuple[int, ...], seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    a, b = (random.integers(0, 256, shape, dtype=np.uint8) for _ in range(2))
    return a, a // 2 + b // 2


def by_scipy(a: np.ndarray, b: np.ndarray) -> float:
    """One channel; the filter is scipy's, the border is cut off."""

    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, 1.5, radius=5)[5:-5, 5:-5]

    x, y = a.astype(float), b.astype(float)
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    top, bottom = (2 * mx * my + C1) * (2 * cov + C2), (mx**2 + my**2 + C1) * (vx + vy + C2)
    return float((top / bottom).mean())


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 0), (100, 200), (37, 38)])
def test_flat_images_in_closed_form(low: int, high: int) -> None:
    a, b = np.full((12, 15), low, np.uint8), np.full((12, 15), high, np.uint8)
    expected = (2 * low * high + C1) / (low**2 + high**2 + C1)
    assert ssim(a, b) == pytest.approx(expected, abs=1e-12)


def test_stripes_against_their_negative_in_closed_form() -> None:
    """One window, columns +-1 about 100: the means differ by the window's alternating sum."""
    window = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    window /= window.sum()
    sign = (-1) ** np.arange(11)
    m = float(window @ sign)
    a = np.tile(100 + sign, (11, 1)).astype(np.uint8)
    b = np.tile(100 - sign, (11, 1)).astype(np.uint8)
    likeness = (2 * (100**2 - m**2) + C1) * (-2 * (1 - m**2) + C2)
    expected = likeness / ((2 * (100**2 + m**2) + C1) * (2 * (1 - m**2) + C2))
    assert ssim(a, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", [(11, 11), (40, 53), (64, 64)])
def test_grey_images_against_scipy(shape: tuple[int, int]) -> None:
    a, b = pair(shape)
    assert ssim(a, b) == pytest.approx(by_scipy(a, b), rel=1e-10)
    assert ssim(b, a) == pytest.approx(ssim(a, b), rel=1e-12)


def test_colours_are_averaged() -> None:
    a, b = pair((20, 30, 3))
    assert ssim(a, b) == pytest.approx(np.mean([by_scipy(a[..., c], b[..., c]) for c in range(3)]))


@pytest.mark.parametrize(
    ("shape", "expected"), [((64, 64, 3), 0.6650519812542713), ((40, 53), 0.6478733366329067)]
)
def test_against_scikit_image(shape: tuple[int, ...], expected: float) -> None:
    """What ``structural_similarity`` of version 0.26.0 says with Wang's settings."""
    assert ssim(*pair(shape)) == pytest.approx(expected, rel=1e-10)


def test_equal_is_one_noise_is_near_zero_and_a_negative_is_below() -> None:
    a, _ = pair((32, 32, 3))
    noise = np.random.default_rng(1).integers(0, 256, a.shape, dtype=np.uint8)
    assert ssim(a, a) == pytest.approx(1)
    assert abs(ssim(a, noise)) < 0.1
    assert ssim(a, 255 - a) < -0.5


@pytest.mark.parametrize("shape", [(10, 20), (20, 10, 3), (20,), (11, 11, 3, 1)])
def test_images_that_no_window_fits_into_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SpecError, match="11 x 11"):
        ssim(*pair(shape))


def test_unlike_images_are_refused() -> None:
    a, _ = pair((20, 20))
    for other in (a.astype(np.float32), a[:15]):
        with pytest.raises(SepmeError, match="one shape"):
            ssim(a, other)
