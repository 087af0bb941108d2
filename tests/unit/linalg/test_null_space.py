import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from sepme.errors import MethodError, NotSeparable, NullSpaceExhausted
from sepme.linalg.null_space import folded, null_space, private_directions, separability

D = 24


def rows_of_rank(n: int, rank: int, *, d: int = D, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    left = torch.randn(n, rank, generator=draw, dtype=torch.float64)
    return left @ torch.randn(rank, d, generator=draw, dtype=torch.float64)


def projector(basis: Tensor) -> Tensor:
    return basis.T @ basis


@pytest.mark.parametrize(("n", "rank"), [(5, 5), (9, 4), (24, 10), (40, 23), (200, 7), (4500, 13)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_same_space_as_scipy(n: int, rank: int, dtype: torch.dtype) -> None:
    rows = rows_of_rank(n, rank).to(dtype)
    space = null_space(rows)
    reference = torch.from_numpy(scipy.linalg.null_space(rows.double().numpy(), rcond=1e-6).T)
    assert space.rank == rank
    assert space.basis.shape == reference.shape == (D - rank, D)
    assert torch.allclose(projector(space.basis), projector(reference), atol=1e-9)


@pytest.mark.parametrize("n", [6, 60])
def test_basis_is_orthonormal_and_leak_is_what_it_says(n: int) -> None:
    rows = rows_of_rank(n, 6).float()
    space = null_space(rows)
    assert torch.allclose(space.basis @ space.basis.T, torch.eye(D - 6, dtype=torch.float64))
    reached = (rows.double() @ space.basis.T).abs().max() / rows.double().norm(dim=1).max()
    assert space.leak == pytest.approx(float(reached), rel=1e-6, abs=1e-16)
    assert space.leak < 1e-6


def test_a_loose_tolerance_leaks() -> None:
    rows = torch.diag(torch.tensor([1.0, 1e-3, 0.0, 0.0]))
    assert null_space(rows).leak == 0
    assert null_space(rows, rtol=1e-2).leak == pytest.approx(1e-3, rel=1e-6)


def test_small_singular_values_survive_because_nothing_is_squared() -> None:
    rows = torch.diag(torch.tensor([1.0, 3e-6, 0.0], dtype=torch.float64)).repeat(3, 1)
    assert null_space(rows).rank == 2
    gram = (rows.T @ rows).float().double()  # inverse check: half of the digits are gone
    assert int((torch.linalg.eigvalsh(gram) > 1e-6).sum()) == 1


def test_duplicates_and_scale_change_nothing() -> None:
    rows = rows_of_rank(10, 6)
    many = 1000 * torch.cat([rows, rows, rows])
    assert torch.allclose(
        projector(null_space(rows).basis), projector(null_space(many).basis), atol=1e-12
    )


def test_rotation_of_the_space_rotates_the_basis() -> None:
    rows = rows_of_rank(10, 6)
    turn, _ = torch.linalg.qr(rows_of_rank(D, D, seed=1))
    turned = projector(null_space(rows @ turn).basis)
    assert torch.allclose(turned, turn.T @ projector(null_space(rows).basis) @ turn, atol=1e-12)


def test_leading_dimensions_are_folded() -> None:
    rows = rows_of_rank(12, 6)
    assert torch.equal(null_space(rows.reshape(3, 4, D)).basis, null_space(rows).basis)


@pytest.mark.parametrize("rows", [torch.zeros(0, 3), torch.zeros(2, 3), torch.zeros(7, 3)])
def test_nothing_to_leave_alone_leaves_everything(rows: Tensor) -> None:
    space = null_space(rows)
    assert (space.rank, space.leak) == (0, 0)
    assert torch.allclose(projector(space.basis), torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("n", [D, 3 * D])
def test_full_rank_is_exhausted(n: int) -> None:
    with pytest.raises(NullSpaceExhausted, match="Retain fewer"):
        null_space(rows_of_rank(n, D))


def test_numbers_must_be_finite() -> None:
    with pytest.raises(MethodError, match="1 of 2 rows"):
        null_space(torch.tensor([[1.0, float("nan")], [0.0, 1.0]]))


@pytest.mark.parametrize("n", [3, D, D + 1, 5000])
def test_folding_keeps_row_space_and_singular_values(n: int) -> None:
    rows = rows_of_rank(n, 3)
    few = folded(rows)
    assert len(few) == min(n, D)
    assert torch.allclose(few.T @ few, rows.T @ rows, rtol=1e-9, atol=1e-9 * n)
    assert torch.equal(few, rows) == (n <= D)  # inverse check: only many rows are folded


def test_private_directions_span_the_projected_target() -> None:
    space = null_space(rows_of_rank(10, 10))
    target = rows_of_rank(7, 7, seed=1)
    own = private_directions(target, space)
    assert own.shape == (7, D)
    assert torch.allclose(own @ own.T, torch.eye(7, dtype=torch.float64))
    assert torch.allclose(own @ space.basis.T @ space.basis, own, atol=1e-12)
    projected = space.project(target)
    assert torch.allclose(projected @ own.T @ own, projected, atol=1e-10)
    rest = rows_of_rank(7, 7, seed=2)  # inverse check: another target is not in that span
    assert not torch.allclose(space.project(rest) @ own.T @ own, space.project(rest), atol=1e-2)


def test_rows_shared_with_the_retained_give_no_direction() -> None:
    retained = rows_of_rank(10, 10)
    target = torch.cat([retained[:1], rows_of_rank(4, 4, seed=1)])
    assert len(private_directions(target.float(), null_space(retained.float()))) == 4


@pytest.mark.parametrize("energy", [0.5, 0.9, 0.999, 1.0])
def test_energy_keeps_the_fewest_directions_that_reach_it(energy: float) -> None:
    space = null_space(rows_of_rank(4, 4))
    target = rows_of_rank(9, 9, seed=1)
    own = private_directions(target, space, energy=energy)
    total = space.project(target).square().sum()
    kept = [float((target @ own[:k].T).square().sum() / total) for k in (len(own) - 1, len(own))]
    assert kept[0] < energy <= kept[1] + 1e-12


def test_target_inside_the_retained_span_is_refused() -> None:
    retained = rows_of_rank(10, 10).float()
    with pytest.raises(NotSeparable, match="Retain fewer"):
        private_directions(retained[:3], null_space(retained))


@pytest.mark.parametrize("energy", [0.0, 1.1, float("nan")])
def test_energy_out_of_range(energy: float) -> None:
    with pytest.raises(MethodError, match="energy"):
        private_directions(torch.ones(1, 3), null_space(torch.zeros(1, 3)), energy=energy)


def test_separability_matches_its_formula_and_its_limits() -> None:
    blank, concept = rows_of_rank(5, 5), rows_of_rank(5, 5, seed=1)
    space = null_space(blank)
    other = scipy.linalg.null_space(blank.numpy())
    gap = (concept - blank).numpy()
    expected = np.linalg.norm(gap @ other) / np.linalg.norm(gap)
    assert separability(concept, blank, space) == pytest.approx(expected)
    assert separability(concept.expand(2, 5, D), blank, space) == pytest.approx(expected)
    assert separability(blank + space.basis[:5], blank, space) == pytest.approx(1)
    assert separability(2 * blank, blank, space) == pytest.approx(0, abs=1e-12)
    assert separability(blank, blank, space) == 0
