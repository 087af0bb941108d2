import pytest
import torch

from sepme.core.factors import check_site, owned_matrix
from sepme.errors import Diverged, MethodError


@pytest.mark.parametrize("site", ["to_k", "down_blocks.0.attn2.to_k"])
def test_module_paths_pass(site: str) -> None:
    check_site(site)


@pytest.mark.parametrize(
    "site", ["", ".", "a..b", "../a", "a/b", "a.b\n", "é", " a", "a" * 10 + " "]
)
def test_anything_else_is_no_site(site: str) -> None:
    with pytest.raises(MethodError, match="dotted module path"):
        check_site(site)


def test_the_copy_is_its_own() -> None:
    given = torch.ones(3, 2, requires_grad=True)
    owned = owned_matrix("m", given.T)
    with torch.no_grad():
        given.zero_()
    assert owned.is_contiguous()
    assert not owned.requires_grad
    assert torch.equal(owned, torch.ones(2, 3))


@pytest.mark.parametrize(
    "bad",
    [torch.ones(2), torch.ones(2, 0), torch.ones(1, 1, 1), torch.ones(1, 1).double()],
)
def test_malformed(bad: torch.Tensor) -> None:
    with pytest.raises(MethodError, match="'m' must be a non-empty float32 matrix, got"):
        owned_matrix("m", bad)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite_is_divergence(value: float) -> None:
    with pytest.raises(Diverged, match="'m' holds numbers that are not finite"):
        owned_matrix("m", torch.full((1, 1), value))
