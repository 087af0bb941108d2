import pytest
import torch

from sepme.core.compose import compose
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
