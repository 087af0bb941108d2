import pytest
import torch
from torch import Tensor

from sepme.errors import MethodError
from sepme.linalg.low_rank import LowRank
from sepme.linalg.text_system import Moments, TextSystem, pooled

WIDTH, ROWS, CONCEPTS, LAMB = 48, 6, 20, 0.5


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def concept(seed: int, *, moves: bool = True) -> Moments:
    goal = normal(ROWS, WIDTH, seed=seed + 1000) if moves else torch.zeros(ROWS, WIDTH)
    return Moments(normal(ROWS, WIDTH, seed=seed), goal.double())


TARGETS = [concept(seed) for seed in range(3)]
REST = [concept(seed, moves=False) for seed in range(3, CONCEPTS)]
KNOWN = [*TARGETS, *REST]


def loss(change: Tensor, erased: list[Moments], known: list[Moments]) -> Tensor:
    """What the maps of the erased ones together are to minimise, written out row by row."""
    total = LAMB * change.square().sum()
    for moments in known:
        wanted = moments.moves if moments in erased else torch.zeros_like(moments.moves)
        for row, goal in zip(moments.rows, wanted, strict=True):
            total = total + (change @ row - goal).square().sum()
    return total


@pytest.mark.parametrize("erased", [TARGETS[:1], TARGETS])
def test_the_sum_of_maps_is_the_minimum_for_all_of_them(erased: list[Moments]) -> None:
    system = TextSystem.of(KNOWN, lamb=LAMB)
    change = torch.stack([system.map(each).dense() for each in erased]).sum(0).requires_grad_()
    (slope,) = torch.autograd.grad(loss(change, erased, KNOWN), change)
    assert slope.abs().max() < 1e-9
    (other,) = torch.autograd.grad(loss(change, erased, KNOWN[:-1]), change)
    assert other.abs().max() > 1e-3  # inverse check: it is the minimum of this loss only


def test_one_solve_gives_the_sum_of_the_maps() -> None:
    system = TextSystem.of(KNOWN, lamb=LAMB)
    each = torch.stack([system.map(moments).dense() for moments in TARGETS]).sum(0)
    assert torch.allclose(system.together(TARGETS), each, rtol=0, atol=1e-10)
    assert not torch.allclose(system.together(TARGETS[:2]), each, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda s: s.plus(KNOWN[-1]), id="one joins"),
        pytest.param(lambda s: s.plus(KNOWN[-1]).plus(TARGETS[2]).plus(TARGETS[2], -1.0), id="out"),
        pytest.param(lambda s: s.plus(KNOWN[-1], 0.25).plus(KNOWN[-1], 0.75), id="re-weighted"),
    ],
)
def test_updates_equal_a_system_made_anew(changed) -> None:
    anew = TextSystem.of(KNOWN, lamb=LAMB)
    updated = changed(TextSystem.of(KNOWN[:-1], lamb=LAMB))
    assert torch.allclose(updated.together(TARGETS), anew.together(TARGETS), rtol=0, atol=1e-8)
    before = TextSystem.of(KNOWN[:-1], lamb=LAMB).together(TARGETS)
    assert not torch.allclose(before, anew.together(TARGETS), rtol=0, atol=1e-4)  # inverse check


def test_a_thousand_concepts_one_leaves() -> None:
    crowd = [Moments(normal(4, 64, seed=k), normal(4, 64, seed=-k - 1)) for k in range(1000)]
    system = TextSystem.of(crowd, lamb=LAMB)
    left = system.plus(crowd[7], -1.0)
    anew = TextSystem.of([*crowd[:7], *crowd[8:]], lamb=LAMB)
    assert torch.allclose(left.together(crowd[:5]), anew.together(crowd[:5]), rtol=0, atol=1e-8)
    assert (system.together(crowd[:5]) - anew.together(crowd[:5])).abs().max() > 1e-6


def test_what_was_never_in_cannot_be_taken_away() -> None:
    with pytest.raises(MethodError, match="not positive definite"):
        TextSystem.of(TARGETS, lamb=1e-3).plus(concept(99), -1.0).map(TARGETS[0])


def test_a_lower_rank_is_the_best_of_that_rank() -> None:
    system = TextSystem.of(KNOWN, lamb=LAMB)
    whole = system.map(TARGETS[0]).dense()

    def missed(change: Tensor) -> float:
        return float(torch.linalg.matrix_norm((change - whole) @ system.triangle))

    sizes = torch.linalg.svdvals(whole @ system.triangle)
    for rank in (1, 2, 4):
        low = system.map(TARGETS[0], rank=rank)
        assert low.right.shape == (rank, WIDTH)
        assert missed(low.dense()) == pytest.approx(float(sizes[rank:].norm()), rel=1e-9)
    left, values, right = torch.linalg.svd(whole)
    plain = LowRank(left[:, :2] * values[:2], right[:2]).dense()
    assert missed(plain) > missed(system.map(TARGETS[0], rank=2).dense())  # inverse check


def test_a_basis_leaves_all_else_alone_exactly() -> None:
    basis = torch.linalg.qr(normal(WIDTH, 12, seed=7))[0].T
    outside = normal(5, WIDTH, seed=8)
    outside = outside - outside @ basis.T @ basis
    free = TextSystem.of(KNOWN, lamb=LAMB)
    bound = TextSystem.of(KNOWN, lamb=LAMB, basis=basis)
    for rank in (0, 2):
        change = bound.map(TARGETS[0], rank=rank)
        assert (outside @ change.right.T).abs().max() < 1e-12
        assert (outside @ free.map(TARGETS[0], rank=rank).right.T).abs().max() > 1e-3
    assert torch.allclose(bound.together(TARGETS[:1]), bound.map(TARGETS[0]).dense(), atol=1e-10)


@pytest.mark.parametrize("count", [4, 100])
def test_pooling_keeps_both_moments(count: int) -> None:
    rows, moves = normal(count, 16, seed=1), normal(count, 16, seed=2)
    few = pooled(rows, moves)
    assert len(few.rows) == min(count, 16)
    assert torch.allclose(few.rows.T @ few.rows, rows.T @ rows, atol=1e-9)
    assert torch.allclose(few.rows.T @ few.moves, rows.T @ moves, atol=1e-9)
    assert not torch.allclose(few.weighted(2.0).rows.T @ few.rows, rows.T @ rows, atol=1e-3)


def test_the_first_pooled_rows_hold_most_energy() -> None:
    rows = normal(100, 16, seed=1) * torch.linspace(1, 0.01, 16, dtype=torch.float64)
    whole, few = pooled(rows, rows), pooled(rows, rows, most=3)
    assert torch.equal(few.rows, whole.rows[:3])
    assert (whole.rows.norm(dim=1).diff() <= 0).all()


def test_weights_count_rows_several_times() -> None:
    one = TARGETS[0]
    twice = TextSystem.of([one.weighted(2.0), *REST], lamb=LAMB)
    both = TextSystem.of([one, one, *REST], lamb=LAMB)
    assert torch.allclose(twice.second, both.second)
    wanted = both.together([one, one])
    assert torch.allclose(twice.map(one.weighted(2.0)).dense(), wanted, atol=1e-10)


def test_numbers_must_be_finite() -> None:
    with pytest.raises(MethodError, match="not finite"):
        pooled(torch.tensor([[torch.nan]]), torch.zeros(1, 1))
