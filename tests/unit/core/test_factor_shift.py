import pytest
import torch
from torch import Tensor

from sepme.core.factor_shift import FactorShift
from sepme.core.payload import PAYLOADS
from sepme.errors import Diverged, MethodError
from tests.shifts import make_factor_shift


@pytest.fixture
def payload() -> FactorShift:
    """Two sites of different rank and width."""
    left = {"b.to_v": torch.randn(3, 2), "a": torch.randn(5, 1)}
    return FactorShift(left, {"a": torch.randn(1, 6), "b.to_v": torch.randn(2, 4)})


def test_delta_is_the_product_in_float64(payload: FactorShift) -> None:
    for site, shape in {"a": (5, 6), "b.to_v": (3, 4)}.items():
        delta = payload.delta(site, torch.zeros(shape))
        expected = payload.left[site].double().numpy() @ payload.right[site].double().numpy()
        assert delta.dtype == torch.float64
        assert torch.allclose(delta, torch.from_numpy(expected))
        product = payload.low_rank(site)
        assert torch.equal(product.left.double() @ product.right.double(), delta)
    assert not torch.allclose(payload.delta("a", delta)[:3, :4], delta)  # inverse check


def test_sites_are_sorted(payload: FactorShift) -> None:
    assert payload.sites == tuple(payload.right) == ("a", "b.to_v")


def test_tensors_round_trip_through_the_table(payload: FactorShift) -> None:
    again = PAYLOADS[payload.kind].from_tensors(payload.tensors())
    assert isinstance(again, FactorShift)
    assert again.tensors().keys() == payload.tensors().keys()
    assert all(torch.equal(again.tensors()[k], v) for k, v in payload.tensors().items())


def test_every_number_counts_for_the_digest() -> None:
    shift, other = make_factor_shift("a"), make_factor_shift("a")
    assert shift == other
    assert shift != make_factor_shift("a", seed=1)  # inverse check
    assert shift.nbytes == 4 * sum(t.numel() for t in shift.payload.tensors().values())


def test_later_changes_outside_do_not_reach_it() -> None:
    left, right = torch.ones(2, 1, requires_grad=True), torch.ones(1, 2)
    payload = FactorShift({"a": left}, {"a": right})
    right.zero_()
    with torch.no_grad():
        left.zero_()
    assert payload.delta("a", torch.zeros(2, 2)).sum() == 4
    assert not payload.left["a"].requires_grad
    for factors in (payload.left, payload.right):
        with pytest.raises(TypeError):
            factors["a"] = torch.zeros(1, 1)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({}, {}),
        ({"a": torch.ones(2, 1)}, {}),
        ({"a": torch.ones(2, 1)}, {"b": torch.ones(1, 2)}),
        ({"a": torch.ones(2, 1)}, {"a": torch.ones(2, 2)}),
        ({"a": torch.ones(2, 0)}, {"a": torch.ones(0, 2)}),
        ({"a": torch.ones(2, 1).double()}, {"a": torch.ones(1, 2)}),
        ({"a": torch.ones(2, 1)}, {"a": torch.ones(1, 2).half()}),
        ({"a": torch.ones(2, 1)}, {"a": torch.ones(1, 2), "b": torch.ones(1, 2)}),
        ({"../a": torch.ones(2, 1)}, {"../a": torch.ones(1, 2)}),
    ],
)
def test_malformed(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    with pytest.raises(MethodError):
        FactorShift(left, right)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite_is_divergence(value: float) -> None:
    with pytest.raises(Diverged):
        FactorShift({"a": torch.ones(2, 1)}, {"a": torch.full((1, 2), value)})


@pytest.mark.parametrize(
    "names",
    [[], ["a"], ["left.a"], ["right.a"], ["left.a", "right.b"], ["left.a", "right.a", "factors.a"]],
)
def test_foreign_tensor_names(names: list[str]) -> None:
    with pytest.raises(MethodError):
        FactorShift.from_tensors({name: torch.ones(1, 1) for name in names})
