"""Against a brute-force search, and the conditions that make a projection optimal."""

import itertools

import pytest
import torch

from sepme.linalg.simplex import onto_simplex


def random_rows(n: int = 50, d: int = 4) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return 2 * torch.randn(n, d, dtype=torch.float64, generator=draw)


def by_supports(row: torch.Tensor) -> torch.Tensor:
    """The nearest of all points that are optimal for some set of non-zero entries."""
    best, least = None, float("inf")
    places = range(len(row))
    for size in range(1, len(row) + 1):
        for support in map(list, itertools.combinations(places, size)):
            point = torch.zeros_like(row)
            point[support] = row[support] - (row[support].sum() - 1) / size
            distance = float((point - row).norm())
            if (point >= 0).all() and distance < least:
                best, least = point, distance
    return best


def test_is_the_nearest_distribution() -> None:
    rows = random_rows()
    expected = torch.stack([by_supports(row) for row in rows])
    torch.testing.assert_close(onto_simplex(rows), expected)
    rescaled = rows.clamp(min=0) / rows.clamp(min=0).sum(1, keepdim=True).clamp(min=1e-9)
    assert not torch.allclose(rescaled, expected)  # inverse check: the cheap answer is another


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gives_distributions_in_any_shape(dtype: torch.dtype) -> None:
    rows = random_rows(12, 300).to(dtype).reshape(3, 4, 300)
    projected = onto_simplex(rows)
    assert projected.shape == rows.shape
    assert (projected >= 0).all()
    torch.testing.assert_close(projected.sum(-1), torch.ones(3, 4, dtype=dtype))


def test_leaves_a_distribution_alone() -> None:
    rows = torch.softmax(random_rows(), dim=1)
    torch.testing.assert_close(onto_simplex(rows), rows)
