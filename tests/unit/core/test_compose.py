from dataclasses import replace

import pytest
import torch

from sepme.core import compose as composing
from sepme.core.compose import compose, folded, forget_maps, summed_map
from sepme.core.text_shift import TextShift
from sepme.errors import BaseMismatch, LedgerError
from tests.shifts import SITES, make_base, make_dense_shift, make_shift, make_text_shift


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_sum_of_strength_times_delta(dtype: torch.dtype) -> None:
    base, one, two = make_base(dtype), make_shift("a", seed=1), make_shift("b", seed=2)
    out = compose(base, [(one, 1.0), (two, 0.5)])
    for site, weight in base.items():
        expected = weight.double() + one.payload.delta(site, weight)
        expected += 0.5 * two.payload.delta(site, weight)
        assert out[site].dtype == dtype
        assert torch.equal(out[site], expected.to(dtype))


def test_dense_and_low_rank_shifts_add_up() -> None:
    base, thin, dense = make_base(), make_shift("a", seed=1), make_dense_shift("b", seed=2)
    out = compose(base, [(dense, 0.5), (thin, 1.0)])
    for site, weight in base.items():
        expected = weight.double() + thin.payload.delta(site, weight)
        expected += 0.5 * dense.payload.changes[site].double()
        assert torch.equal(out[site], expected.float())
    assert compose(base, [])[site] is base[site]


def test_base_is_not_modified_and_untouched_sites_are_the_same_tensor() -> None:
    base, pristine = make_base(), make_base()
    touched, *rest = SITES
    out = compose(base, [(make_shift("a", sites=(touched,)), 1.0)])
    assert all(torch.equal(base[site], pristine[site]) for site in base)
    assert all(out[site] is base[site] for site in rest)
    assert not torch.equal(out[touched], base[touched])


def test_unknown_site() -> None:
    base = make_base()
    base["down.0.attn2.to_q"] = base.pop("down.0.attn2.to_k")
    with pytest.raises(BaseMismatch, match="Did you mean"):
        compose(base, [(make_shift("a"), 1.0)])


def test_wrong_shape() -> None:
    base = {site: weight[:, 1:] for site, weight in make_base().items()}
    with pytest.raises(BaseMismatch, match=r"\(5, 12\)"):
        compose(base, [(make_shift("a"), 1.0)])


def test_a_text_map_multiplies_every_pristine_weight() -> None:
    base, shift, other = make_base(), make_text_shift("a"), make_shift("b")
    text_map = shift.payload.left.double() @ shift.payload.right.double()
    alone, beside = compose(base, [(shift, 0.5)]), compose(base, [(shift, 0.5), (other, 1.0)])
    for site, weight in base.items():
        wide = weight.double()
        assert torch.allclose(alone[site].double(), wide + 0.5 * wide @ text_map, atol=1e-5)
        both = wide + 0.5 * wide @ text_map + other.payload.delta(site, weight)
        assert torch.allclose(beside[site].double(), both, atol=1e-5)  # the other is not mapped
        assert not torch.allclose(alone[site], beside[site], atol=1e-2)


def test_a_text_map_of_another_width() -> None:
    base = {site: weight[:, 1:] for site, weight in make_base().items()}
    with pytest.raises(BaseMismatch, match=r"12-dimensional.*\(5, 11\)"):
        compose(base, [(make_text_shift("a"), 1.0)])


def test_strength_must_be_finite() -> None:
    with pytest.raises(LedgerError, match="finite"):
        compose(make_base(), [(make_shift("a"), float("nan"))])


MAPS = [(make_text_shift(f"c-{i}", seed=i), 0.25 + i / 50) for i in range(40)]


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-13), (torch.float32, 1e-6), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)],
)
def test_many_text_maps_are_folded_to_the_precision_of_the_weight(
    dtype: torch.dtype, tolerance: float
) -> None:
    base = make_base(dtype)
    out, fewer = compose(base, MAPS), compose(base, MAPS[:-1])
    for site, weight in base.items():
        wide = weight.double()
        expected = wide + sum(s * shift.payload.delta(site, weight) for shift, s in MAPS)
        assert out[site].dtype == dtype
        assert (out[site].double() - expected).abs().max() < tolerance * expected.abs().max()
        assert (fewer[site].double() - expected).abs().max() > 1e-2 * expected.abs().max()


def test_many_text_maps_give_the_same_bits_in_any_order() -> None:
    base, other = make_base(), (make_shift("z"), 1.0)
    one, turned = compose(base, [*MAPS, other]), compose(base, [other, *MAPS[::-1]])
    forget_maps()
    anew = compose(base, [other, *MAPS[20:], *MAPS[:20]])
    stronger = compose(base, [*MAPS[1:], (MAPS[0][0], 0.26), other])
    for site in base:
        assert torch.equal(one[site], turned[site])
        assert torch.equal(one[site], anew[site])
        assert not torch.equal(one[site], stronger[site])


def test_maps_of_other_sites_are_summed_apart() -> None:
    base, (first, *rest) = make_base(), SITES
    payload = make_text_shift("a").payload
    part = replace(MAPS[1][0], payload=TextShift(payload.left, payload.right, tuple(rest)))
    both = compose(base, [MAPS[0], (part, 2.0)])
    assert torch.equal(both[first], compose(base, [MAPS[0]])[first])
    expected = base[rest[0]].double()
    expected = expected + MAPS[0][1] * MAPS[0][0].payload.delta(rest[0], expected)
    expected = expected + 2 * payload.delta(rest[0], base[rest[0]])
    assert torch.allclose(both[rest[0]].double(), expected, rtol=1e-5, atol=1e-5)


def test_the_sum_of_a_set_is_worked_out_once() -> None:
    forget_maps()
    kept = summed_map(MAPS)
    assert summed_map(MAPS[::-1]) is kept
    assert summed_map(MAPS[1:]) is not kept  # inverse check: another set
    for count in range(1, composing.KEPT_MAPS + 1):
        summed_map(MAPS[:count])
    assert composing._summed.cache_info().currsize == composing.KEPT_MAPS
    assert summed_map(MAPS) is not kept  # only the sets used last are kept
    assert torch.equal(summed_map(MAPS), kept)


def test_folding_does_not_modify_the_weight() -> None:
    weight, before = torch.ones(2, 3), torch.ones(2, 3)
    assert torch.equal(folded(weight, torch.eye(3).double()), 2 * before)
    assert torch.equal(weight, before)
