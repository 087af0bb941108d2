import math

import pytest
import torch
from torch import Tensor

from sepme.errors import MethodError, NullSpaceExhausted
from sepme.linalg import leave_one_out as module
from sepme.linalg.leave_one_out import leave_one_out, rank, rooms
from sepme.linalg.null_space import folded, null_space


def rows(count: int, *, seed: int, width: int = 40) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_each_has_the_null_space_of_all_the_others(count: int) -> None:
    always, sets = rows(3, seed=0), [rows(4, seed=k) for k in range(1, count + 1)]
    for k, space in enumerate(leave_one_out(always, sets)):
        others = torch.cat([always, *sets[:k], *sets[k + 1 :]])
        wanted = null_space(others)
        assert space is not None
        assert space.rank == wanted.rank == 3 + 4 * (count - 1)
        assert torch.allclose(space.basis.T @ space.basis, wanted.basis.T @ wanted.basis, atol=1e-9)
        own = sets[k] @ space.basis.T
        assert own.abs().max() > 1e-3  # inverse check: the one left out is not among them


def test_no_room_is_none_and_found_out_early(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(rows: Tensor, *, rtol: float):
        calls.append(len(rows))
        return null_space(rows, rtol=rtol)

    monkeypatch.setattr(module, "null_space", counted)
    sets = [rows(4, seed=k) for k in range(1, 65)]
    assert leave_one_out(rows(3, seed=0), sets) == (None,) * 64
    assert len(calls) == 3  # the whole and its halves
    with pytest.raises(NullSpaceExhausted):  # inverse check: each is None for this reason
        null_space(torch.cat(sets[1:]))


def test_what_a_half_leaves_alone_is_folded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    width, count, size = 40, 16, 60
    seen: dict[str, list[int]] = {"folded": [], "null_space": []}

    def folding(rows: Tensor) -> Tensor:
        seen["folded"].append(len(rows))
        return folded(rows)

    def looking(rows: Tensor, *, rtol: float):
        seen["null_space"].append(len(rows))
        return null_space(rows, rtol=rtol)

    monkeypatch.setattr(module, "folded", folding)
    monkeypatch.setattr(module, "null_space", looking)
    sets = [rows(size, seed=1, width=1) @ rows(1, seed=k) for k in range(2, count + 2)]
    spaces = leave_one_out(rows(3, seed=0), sets)
    assert [space.rank for space in spaces if space] == [3 + count - 1] * count
    nodes = len(seen["null_space"])
    assert nodes == 2 * count - 1
    assert max(seen["null_space"]) <= width
    assert sum(seen["folded"]) <= count * size * math.log2(count) + nodes * width
    assert sum(seen["folded"]) < count * (count - 1) * size / 2  # inverse: n^2 would be more


def test_numbers_must_be_finite() -> None:
    spoilt = rows(4, seed=2)
    spoilt[1, 0] = torch.nan
    with pytest.raises(MethodError, match="1 of 4 rows"):
        leave_one_out(rows(3, seed=0), [rows(4, seed=1), spoilt])


def test_nothing_to_leave_out() -> None:
    assert leave_one_out(rows(3, seed=0), []) == ()


def test_rooms_are_those_of_all_rows_and_read_no_further_than_needed() -> None:
    asked: list[int] = []

    def read(seed: int) -> Tensor:
        asked.append(seed)
        return rows(4, seed=seed)

    found = rooms([0], range(1, 8), read)  # 32 of 40 directions
    wanted = leave_one_out(rows(4, seed=0), [rows(4, seed=k) for k in range(1, 8)])
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.rank == theirs.rank == 28
        assert torch.allclose(ours.basis.T @ ours.basis, theirs.basis.T @ theirs.basis, atol=1e-9)
    del asked[:]
    assert rooms([0], range(1, 200), read) == (None,) * 199
    assert len(asked) == len(set(asked)) == 1 + 2 * 16  # two groups, by eights
    del asked[:]
    assert rooms(range(20), range(20, 220), read) == (None,) * 200
    assert asked == list(range(16))
    assert None not in rooms([0], range(1, 10), read)  # one group that fills it tells nothing


def test_rank_is_that_of_all_rows() -> None:
    sets = [rows(4, seed=k) for k in range(50)]
    for count in (1, 5, 10, 50):
        assert rank(sets[:count]) == torch.linalg.matrix_rank(torch.cat(sets[:count]))
    rest = iter(sets)
    assert rank(rest) == 40
    assert len(list(rest)) == 50 - 16
