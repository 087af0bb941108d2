import pytest
import torch
from torch import Tensor

from sepme.core.dense_shift import DenseShift
from sepme.core.payload import PAYLOADS, SiteShift
from sepme.errors import Diverged, MethodError


@pytest.fixture
def payload() -> SiteShift:
    return SiteShift(torch.randn(2, 4), {"b.to_k": torch.randn(3, 2), "a": torch.randn(5, 2)})


def test_delta_is_the_product_in_float64(payload: SiteShift) -> None:
    expected = payload.factors["a"].double().numpy() @ payload.directions.double().numpy()
    delta = payload.delta("a", torch.zeros(5, 4))
    assert delta.dtype == torch.float64
    assert torch.allclose(delta, torch.from_numpy(expected))


def test_sites_are_sorted(payload: SiteShift) -> None:
    assert payload.sites == ("a", "b.to_k")


def test_tensors_round_trip_through_the_table(payload: SiteShift) -> None:
    again = PAYLOADS[payload.kind].from_tensors(payload.tensors())
    assert again.tensors().keys() == payload.tensors().keys()
    assert all(torch.equal(again.tensors()[k], v) for k, v in payload.tensors().items())


def test_later_changes_outside_do_not_reach_it() -> None:
    directions, factor = torch.ones(1, 2), torch.ones(2, 1, requires_grad=True)
    payload = SiteShift(directions, {"a": factor})
    directions.zero_()
    with torch.no_grad():
        factor.zero_()
    assert payload.delta("a", torch.zeros(2, 2)).sum() == 4
    assert not payload.factors["a"].requires_grad


def test_mapping_cannot_be_changed(payload: SiteShift) -> None:
    with pytest.raises(TypeError):
        payload.factors["a"] = torch.zeros(5, 2)


@pytest.mark.parametrize(
    ("directions", "factors"),
    [
        (torch.ones(1, 2).double(), {"a": torch.ones(2, 1)}),
        (torch.ones(2), {"a": torch.ones(2, 1)}),
        (torch.ones(0, 2), {"a": torch.ones(2, 0)}),
        (torch.ones(1, 2), {"a": torch.ones(2, 2)}),
        (torch.ones(1, 2), {"a": torch.ones(2, 1).half()}),
        (torch.ones(1, 2), {}),
        (torch.ones(1, 2), {"../a": torch.ones(2, 1)}),
        (torch.ones(1, 2), {"": torch.ones(2, 1)}),
    ],
)
def test_malformed(directions: Tensor, factors: dict[str, Tensor]) -> None:
    with pytest.raises(MethodError):
        SiteShift(directions, factors)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite_is_divergence(value: float) -> None:
    with pytest.raises(Diverged):
        SiteShift(torch.ones(1, 2), {"a": torch.full((2, 1), value)})


@pytest.mark.parametrize("names", [[], ["factors.a"], ["directions"], ["directions", "x"]])
def test_foreign_tensor_names(names: list[str]) -> None:
    with pytest.raises(MethodError):
        SiteShift.from_tensors({name: torch.ones(1, 1) for name in names})


@pytest.fixture
def dense() -> DenseShift:
    return DenseShift({"b.to_k": torch.randn(3, 4), "a": torch.randn(5, 4)})


def test_dense_delta_is_what_was_given_in_float64(dense: DenseShift) -> None:
    delta = dense.delta("a", torch.zeros(5, 4))
    assert delta.dtype == torch.float64
    assert torch.equal(delta.float(), dense.changes["a"])
    assert dense.sites == ("a", "b.to_k")


def test_dense_round_trips_through_the_table(dense: DenseShift) -> None:
    again = PAYLOADS["dense"].from_tensors(dense.tensors())
    assert isinstance(again, DenseShift)
    assert again.tensors().keys() == dense.tensors().keys()
    assert all(torch.equal(again.tensors()[k], v) for k, v in dense.tensors().items())


def test_later_changes_outside_do_not_reach_a_dense_shift() -> None:
    change = torch.ones(2, 3, requires_grad=True)
    dense = DenseShift({"a": change})
    with torch.no_grad():
        change.zero_()
    assert dense.delta("a", torch.zeros(2, 3)).sum() == 6
    assert not dense.changes["a"].requires_grad
    dense.delta("a", torch.zeros(2, 3)).zero_()
    assert dense.changes["a"].sum() == 6
    with pytest.raises(TypeError):
        dense.changes["a"] = torch.zeros(2, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"a": torch.ones(2, 3).double()},
        {"a": torch.ones(2, 3).half()},
        {"a": torch.ones(2, 3, dtype=torch.int32)},
        {"a": torch.ones(6)},
        {"a": torch.ones(2, 3, 1)},
        {"a": torch.ones(0, 3)},
        {"../a": torch.ones(2, 3)},
        {"a.": torch.ones(2, 3)},
        {"": torch.ones(2, 3)},
        {"a": torch.ones(2, 3), "b c": torch.ones(2, 3)},
    ],
)
def test_malformed_dense(changes: dict[str, Tensor]) -> None:
    with pytest.raises(MethodError):
        DenseShift(changes)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_not_finite_dense_is_divergence(value: float) -> None:
    change = torch.ones(2, 3)
    change[1, 2] = value
    with pytest.raises(Diverged, match="'a' holds numbers that are not finite"):
        DenseShift({"b": torch.ones(2, 3), "a": change})


@pytest.mark.parametrize("names", [[], ["a"], ["factors.a"], ["changes.a", "directions"]])
def test_foreign_tensor_names_of_a_dense_shift(names: list[str]) -> None:
    with pytest.raises(MethodError):
        DenseShift.from_tensors({name: torch.ones(1, 1) for name in names})
