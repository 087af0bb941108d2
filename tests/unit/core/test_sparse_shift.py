"""New values at some positions, exactly; nothing else is touched."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sepme.core.compose import compose
from sepme.core.payload import PAYLOADS
from sepme.core.sparse_shift import SparseShift
from sepme.errors import BaseMismatch, Diverged, MethodError, ShiftFileError
from sepme.io.shift_file import load_shift, save_shift
from tests.shifts import make_shift

WEIGHTS = {
    "ff": torch.randn(4, 6, generator=torch.Generator().manual_seed(0)),
    "conv": torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(1)),
}
MASKS = {site: weight > 0.5 for site, weight in WEIGHTS.items()}
SHIFT = SparseShift.zeroing(WEIGHTS, MASKS)


def of(payload: SparseShift):
    return replace(make_shift("a", separable=False), payload=payload)


def ints(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_zeroed_exactly_where_the_mask_is(dtype: torch.dtype) -> None:
    weights = {site: weight.to(dtype) for site, weight in WEIGHTS.items()}
    live = compose(weights, [(of(SparseShift.zeroing(weights, MASKS)), 1.0)])
    for site, mask in MASKS.items():
        assert 0 < mask.sum() < mask.numel()
        assert torch.equal(live[site], torch.where(mask, torch.zeros((), dtype=dtype), live[site]))
        assert torch.equal(live[site][~mask], weights[site][~mask])
        assert not torch.equal(live[site], weights[site])  # inverse check


def test_strength_is_the_share_of_the_way() -> None:
    live = compose(WEIGHTS, [(of(SHIFT), 0.5)])
    assert torch.equal(live["ff"][MASKS["ff"]], WEIGHTS["ff"][MASKS["ff"]] / 2)


def test_any_value_can_be_set() -> None:
    shift = SparseShift({"ff": ints(1, 5)}, {"ff": WEIGHTS["ff"].flatten()[[1, 5]]}, {"ff": TWO})
    live = compose(WEIGHTS, [(of(shift), 1.0)])
    assert torch.equal(live["ff"].flatten()[[1, 5]], TWO)
    assert live["conv"] is WEIGHTS["conv"]


def test_another_base_is_refused() -> None:
    other = {**WEIGHTS, "ff": WEIGHTS["ff"] + 1}
    with pytest.raises(BaseMismatch, match="does not hold"):
        compose(other, [(of(SHIFT), 1.0)])
    with pytest.raises(BaseMismatch, match="does not hold"):
        SHIFT.delta("ff", WEIGHTS["ff"][:1])


def test_nothing_to_zero_is_no_shift() -> None:
    nothing = {site: torch.zeros_like(mask) for site, mask in MASKS.items()}
    with pytest.raises(MethodError, match="at least one site"):
        SparseShift.zeroing(WEIGHTS, nothing)
    one = SparseShift.zeroing(WEIGHTS, {**nothing, "ff": MASKS["ff"]})
    assert one.sites == ("ff",)


def test_round_trip(tmp_path) -> None:
    again = PAYLOADS["sparse"].from_tensors(SHIFT.tensors())
    assert isinstance(again, SparseShift)
    assert of(again) == of(SHIFT)
    save_shift(of(SHIFT), tmp_path / "x.safetensors")
    assert load_shift(tmp_path / "x.safetensors") == of(SHIFT)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes((tmp_path / "x.safetensors").read_bytes()[:-4] + b"\x00\x00\x80\x7f")
    with pytest.raises(ShiftFileError):
        load_shift(bad)


def test_later_changes_outside_do_not_reach_it() -> None:
    places = ints(0, 1)
    shift = SparseShift({"ff": places}, {"ff": ONES}, {"ff": TWO})
    places[1] = 7
    assert shift.positions["ff"].tolist() == [0, 1]
    with pytest.raises(TypeError):
        shift.positions["ff"] = places


ONES, TWO = torch.ones(2), torch.tensor([2.0, -2.0])


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("positions.ff", ints(1, 1)),
        ("positions.ff", ints(2, 1)),
        ("positions.ff", ints(-1, 1)),
        ("positions.ff", ints()),
        ("positions.ff", ints(0, 1, 2)),
        ("positions.ff", torch.tensor([0, 1])),
        ("positions.ff", ONES),
        ("positions.ff", ints(0, 1).view(1, 2)),
        ("before.ff", ONES.double()),
        ("before.ff", torch.ones(3)),
        ("after.ff", torch.ones(1, 2)),
        ("after.ff", ints(0, 0)),
        ("after.other", ONES),
        ("positions.../x", ints(0, 1)),
        ("values.ff", ONES),
        ("ff", ONES),
    ],
)
def test_hostile_tensors(name: str, bad: Tensor) -> None:
    good = {"positions.ff": ints(0, 1), "before.ff": ONES, "after.ff": TWO}
    assert SparseShift.from_tensors(good).sites == ("ff",)
    with pytest.raises(MethodError):
        SparseShift.from_tensors(good | {name: bad})
    with pytest.raises(MethodError):
        SparseShift.from_tensors({})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite_is_divergence(value: float) -> None:
    with pytest.raises(Diverged):
        SparseShift({"ff": ints(0)}, {"ff": torch.ones(1)}, {"ff": torch.tensor([value])})


def test_a_position_beyond_the_weight_is_another_base() -> None:
    shift = SparseShift({"ff": ints(2**31 - 1)}, {"ff": torch.ones(1)}, {"ff": torch.zeros(1)})
    with pytest.raises(BaseMismatch):
        shift.delta("ff", WEIGHTS["ff"])
