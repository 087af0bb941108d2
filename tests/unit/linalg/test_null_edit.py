"""The thin form against the closed form of SPEED written out for each weight."""

import pytest
import torch
from torch import Tensor

from sepme.errors import MethodError
from sepme.linalg.null_edit import null_edit, quiet_directions

D_TEXT = 24


def rows(n: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return 1 + torch.randn(n, D_TEXT, generator=draw, dtype=torch.float64)


def written_out(
    weight: Tensor, targets: Tensor, anchors: Tensor, basis: Tensor, fixed: Tensor,
    *, ridge: float, slack: float,
) -> Tensor:  # fmt: skip
    eye, p, k = torch.eye(D_TEXT, dtype=torch.float64), basis.T @ basis, fixed.T
    second, crossed = targets.T @ targets / len(targets), anchors.T @ targets / len(targets)
    m = torch.linalg.inv(second @ p + ridge * eye)
    held = k.T @ p @ m @ k + slack * torch.eye(k.shape[1], dtype=torch.float64)
    inner = eye - m @ k @ torch.linalg.inv(held) @ k.T @ p
    return weight @ (crossed - second) @ p @ inner @ m


@pytest.mark.parametrize("slack", [0.0, 0.3])
@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("free", [10, D_TEXT])
def test_agrees_with_the_closed_form_of_each_weight(n: int, free: int, slack: float) -> None:
    targets, anchors, fixed = rows(n, 1), rows(n, 2), rows(4, 3)
    basis = torch.linalg.qr(rows(free, 4).T).Q.T
    found = null_edit(targets, anchors, basis, fixed, ridge=0.7, slack=slack)
    assert found.left.shape == (D_TEXT, n)
    for width in (8, 40):
        weight = torch.randn(width, D_TEXT, dtype=torch.float64)
        expected = written_out(weight, targets, anchors, basis, fixed, ridge=0.7, slack=slack)
        assert (weight @ found.dense() - expected).abs().max() < 1e-10
        other = null_edit(targets, anchors, basis, fixed, ridge=0.8, slack=slack)
        assert (weight @ other.dense() - expected).abs().max() > 1e-6  # inverse check


def test_fixed_rows_do_not_move_at_all_without_slack() -> None:
    targets, anchors, fixed = rows(3, 1), rows(3, 2), rows(4, 3)
    basis = torch.linalg.qr(rows(12, 4).T).Q.T
    for held in (fixed, fixed[[0, 0, 1]], torch.cat([fixed, rows(9, 5)])):  # doubled, and many
        exact = null_edit(targets, anchors, basis, held, ridge=1.0, slack=0.0).dense()
        assert (held @ exact.T).abs().max() < 1e-12 * exact.abs().max().clamp(min=1)
    soft = null_edit(targets, anchors, basis, fixed, ridge=1.0, slack=1.0).dense()
    assert (fixed @ soft.T).abs().max() > 1e-3  # inverse check
    assert (targets @ null_edit(targets, anchors, basis, fixed, ridge=1.0, slack=0.0).dense().T
            ).abs().max() > 1e-2  # fmt: skip


def test_reads_the_subspace_only() -> None:
    targets, anchors = rows(3, 1), rows(3, 2)
    basis = torch.linalg.qr(rows(D_TEXT, 4).T).Q.T
    change = null_edit(targets, anchors, basis[:10], rows(0, 3), ridge=1.0, slack=0.0).dense()
    assert (basis[10:] @ change.T).abs().max() < 1e-12
    assert (basis[:10] @ change.T).abs().max() > 1e-2  # inverse check


def test_quiet_directions_have_less_energy_than_the_threshold() -> None:
    noisy = rows(40, 1) * torch.linspace(0.01, 2, D_TEXT)
    quiet = quiet_directions(noisy, threshold=0.1)
    assert 0 < len(quiet) < D_TEXT
    assert torch.allclose(quiet @ quiet.T, torch.eye(len(quiet), dtype=torch.float64))
    assert (noisy @ quiet.T).square().mean(0).max() < 0.1
    louder = quiet_directions(2 * noisy, threshold=0.1)  # the threshold is absolute
    assert len(louder) < len(quiet)
    assert len(quiet_directions(2 * noisy, threshold=0.4)) == len(quiet)
    assert len(quiet_directions(noisy[:0], threshold=0.1)) == D_TEXT


def test_not_finite() -> None:
    bad = rows(2, 1)
    bad[0, 0] = float("inf")
    with pytest.raises(MethodError, match="not finite"):
        null_edit(bad, rows(2, 2), torch.eye(D_TEXT), rows(1, 3), ridge=1.0, slack=0.0)
