from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sepme.core.payload import PAYLOADS
from sepme.core.text_shift import TextShift
from sepme.errors import BaseMismatch, Diverged, MethodError
from tests.shifts import D_TEXT, SITES, make_base, make_text_shift

SITE = next(iter(SITES))


@pytest.fixture
def payload() -> TextShift:
    return TextShift(torch.randn(4, 2), torch.randn(2, 4), ("b.to_k", "a"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_delta_is_the_pristine_weight_times_the_map(payload: TextShift, dtype: torch.dtype) -> None:
    base = torch.randn(3, 4).to(dtype)
    expected = (
        base.double().numpy() @ payload.left.double().numpy() @ payload.right.double().numpy()
    )
    delta = payload.delta("a", base)
    assert delta.dtype == torch.float64
    assert torch.allclose(delta, torch.from_numpy(expected), atol=1e-12)
    assert torch.equal(delta, payload.delta("a", base.clone()))
    assert not torch.allclose(payload.delta("a", base + 1), delta)  # inverse: the weight counts


def test_the_site_reads_a_mapped_embedding(payload: TextShift) -> None:
    base, embedding = torch.randn(3, 4).double(), torch.randn(4).double()
    mapped = embedding + payload.left.double() @ payload.right.double() @ embedding
    assert torch.allclose((base + payload.delta("a", base)) @ embedding, base @ mapped)


def test_low_rank_has_the_rank_of_the_map(payload: TextShift) -> None:
    base = torch.randn(3, 4)
    factors = payload.low_rank("a", base)
    assert (factors.left.shape, factors.right.shape) == ((3, 2), (2, 4))
    assert torch.equal(factors.dense(), payload.delta("a", base))


@pytest.mark.parametrize("base", [torch.zeros(3, 5), torch.zeros(4), torch.zeros(0)])
def test_another_width_is_another_base(payload: TextShift, base: Tensor) -> None:
    with pytest.raises(BaseMismatch, match="4-dimensional"):
        payload.delta("a", base)


def test_sites_are_sorted_whatever_order_they_come_in(payload: TextShift) -> None:
    assert payload.sites == ("a", "b.to_k")
    turned = TextShift(payload.left, payload.right, ("a", "b.to_k"))
    assert list(turned.tensors()) == list(payload.tensors())


def test_tensors_round_trip_through_the_table(payload: TextShift) -> None:
    again = PAYLOADS[payload.kind].from_tensors(payload.tensors())
    assert again.sites == payload.sites
    assert again.tensors().keys() == payload.tensors().keys()
    assert all(torch.equal(again.tensors()[k], v) for k, v in payload.tensors().items())


def test_size_does_not_depend_on_the_number_of_sites() -> None:
    shift = make_text_shift("a", rank=3)
    assert len(shift.payload.sites) == len(SITES)
    assert shift.nbytes == 4 * 2 * 3 * D_TEXT


def test_digest_depends_on_every_part() -> None:
    shift = make_text_shift("a")
    kept = shift.payload
    parts = [
        TextShift(kept.left, kept.right, kept.sites[1:]),
        TextShift(kept.left, kept.right, (*kept.sites[1:], "elsewhere")),
        TextShift(2 * kept.left, kept.right, kept.sites),
        TextShift(kept.left, 2 * kept.right, kept.sites),
    ]
    digests = {replace(shift, payload=part).digest for part in parts} | {shift.digest}
    assert len(digests) == 5
    assert replace(shift, payload=TextShift(kept.left, kept.right, kept.sites)) == shift


def test_later_changes_outside_do_not_reach_it() -> None:
    left, right = torch.ones(2, 1, requires_grad=True), torch.ones(1, 2)
    payload = TextShift(left, right, ("a",))
    right.zero_()
    with torch.no_grad():
        left.zero_()
    assert payload.delta("a", torch.ones(1, 2)).sum() == 4
    assert not payload.left.requires_grad


@pytest.mark.parametrize(
    ("left", "right", "sites"),
    [
        (torch.ones(2, 1).double(), torch.ones(1, 2), ("a",)),
        (torch.ones(2, 1), torch.ones(1, 2).half(), ("a",)),
        (torch.ones(2), torch.ones(1, 2), ("a",)),
        (torch.ones(2, 0), torch.ones(0, 2), ("a",)),
        (torch.ones(2, 1), torch.ones(1, 3), ("a",)),
        (torch.ones(2, 1), torch.ones(2, 2), ("a",)),
        (torch.ones(2, 1), torch.ones(1, 2), ()),
        (torch.ones(2, 1), torch.ones(1, 2), ("a", "a")),
        (torch.ones(2, 1), torch.ones(1, 2), ("../a",)),
        (torch.ones(2, 1), torch.ones(1, 2), ("",)),
    ],
)
def test_malformed(left: Tensor, right: Tensor, sites: tuple[str, ...]) -> None:
    with pytest.raises(MethodError):
        TextShift(left, right, sites)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite_is_divergence(value: float) -> None:
    with pytest.raises(Diverged):
        TextShift(torch.ones(2, 1), torch.full((1, 2), value), ("a",))


@pytest.mark.parametrize(
    "change",
    [
        {"left": None},
        {"right": None},
        {"sites.a": None, "sites.b.to_k": None},
        {"sites.": torch.empty(0)},
        {"sites.../a": torch.empty(0)},
        {"sites.c": torch.empty(1)},
        {"sites.c": torch.empty(0, 2)},
        {"sites.c": torch.empty(0).half()},
        {"factors.c": torch.empty(0)},
        {"extra": torch.ones(1, 1)},
        {"left": torch.ones(5, 2)},
        {"right": torch.full((2, 4), float("nan"))},
    ],
)
def test_foreign_tensors(payload: TextShift, change: dict[str, Tensor | None]) -> None:
    merged = {**payload.tensors(), **change}
    with pytest.raises(MethodError) as info:
        TextShift.from_tensors({name: t for name, t in merged.items() if t is not None})
    assert len(str(info.value).splitlines()) == 1


@pytest.mark.parametrize(("gone", "there"), [("left", "right"), ("right", "left")])
def test_a_missing_factor_is_told_with_all_that_is_there(
    payload: TextShift, gone: str, there: str
) -> None:
    tensors = {name: tensor for name, tensor in payload.tensors().items() if name != gone}
    with pytest.raises(MethodError) as info:
        TextShift.from_tensors(tensors)
    told = str(info.value).partition("got ")[2]
    assert f"'{there}'" in told
    assert f"'{gone}'" not in told  # inverse check


def test_a_pristine_weight_is_not_changed() -> None:
    base, before = make_base(), make_base()
    make_text_shift("a").payload.delta(SITE, base[SITE])
    assert torch.equal(base[SITE], before[SITE])
