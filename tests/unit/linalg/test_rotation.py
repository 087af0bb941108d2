import pytest
import torch

from sepme.errors import MethodError
from sepme.linalg.rotation import nearest_rotation, span


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 2, 7, 40])
@pytest.mark.parametrize("sign", [1, -1])
def test_is_a_rotation(size: int, sign: int) -> None:
    matrix = drawn(size, size)
    matrix[0] *= sign * matrix.det().sign()
    turn = nearest_rotation(matrix)
    assert (turn @ turn.T - torch.eye(size, dtype=torch.float64)).abs().max() < 1e-10
    assert turn.det() == pytest.approx(1, abs=1e-10)
    u, _, vh = torch.linalg.svd(matrix)
    assert (u @ vh).det() == pytest.approx(sign, abs=1e-10)  # inverse: not flipped, it can be -1


@pytest.mark.parametrize("sign", [1, -1])
def test_no_other_rotation_is_nearer(sign: int) -> None:
    matrix = drawn(6, 6)
    matrix[0] *= sign * matrix.det().sign()
    best = (nearest_rotation(matrix) * matrix).sum()
    for seed in range(20):
        skew = 0.1 * drawn(6, 6, seed=seed)
        nudge = torch.linalg.matrix_exp(skew - skew.T)
        assert (nearest_rotation(matrix) @ nudge * matrix).sum() < best


def test_of_a_positive_definite_matrix_it_is_none() -> None:
    factor = drawn(5, 9)
    assert torch.allclose(nearest_rotation(factor @ factor.T), torch.eye(5, dtype=torch.float64))
    assert not torch.allclose(nearest_rotation(factor[:, :5]), torch.eye(5, dtype=torch.float64))


def test_span_reveals_the_rank() -> None:
    rows = drawn(3, 12)
    basis = span(torch.cat([rows, rows, 5 * rows[:1] - rows[1:2]]))
    assert basis.shape == (3, 12)
    assert torch.allclose(basis @ basis.T, torch.eye(3, dtype=torch.float64))
    assert torch.allclose(rows @ basis.T @ basis, rows)
    other = drawn(1, 12, seed=1)
    assert not torch.allclose(other @ basis.T @ basis, other, atol=0.1)  # inverse check
    assert len(torch.linalg.qr(torch.cat([rows, rows]).T).Q.T) == 6  # what a plain QR gives


def test_bad_input() -> None:
    for bad in (torch.zeros(2, 3), torch.full((1, 3), float("nan"))):
        with pytest.raises(MethodError, match="finite"):
            span(bad)
    with pytest.raises(MethodError, match="finite"):
        nearest_rotation(torch.full((2, 2), float("inf")))
