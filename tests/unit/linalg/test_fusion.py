import pytest
import torch

from sepme.errors import MethodError
from sepme.linalg.fusion import fuse

D = 12
SITES = {"to_k": 5, "to_v": 7}


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def change(seed: int) -> dict[str, torch.Tensor]:
    """A change of rank one of each site."""
    return {s: draw(n, 1, seed=seed) @ draw(1, D, seed=seed + 9) for s, n in SITES.items()}


NOTHING = {site: torch.zeros(out, D) for site, out in SITES.items()}
NONE = torch.zeros(0, D)


@pytest.mark.parametrize("base", [NOTHING, change(20)])
def test_one_change_is_itself_on_its_own_rows_up_to_the_ridge(base) -> None:
    rows, own = draw(4, D, seed=0), change(1)
    for lamb, tolerance in ((1e-9, 1e-7), (1e-3, 1e-2)):
        fused = fuse([rows], [own], NONE, base=base, lamb=lamb)
        for site in SITES:
            wanted = (base[site] + own[site]) @ rows.T
            assert torch.allclose(fused[site] @ rows.T, wanted, atol=tolerance)
    heavy = fuse([rows], [own], NONE, base=base, lamb=1e9)  # inverse: nothing but the base is left
    assert all(torch.allclose(heavy[s], base[s].double(), atol=1e-6) for s in SITES)


def test_each_of_two_gives_its_own_rows_its_own_output() -> None:
    rows, changes = [draw(4, D, seed=s) for s in (0, 1)], [change(2), change(3)]
    fused = fuse(rows, changes, NONE, base=NOTHING, lamb=1e-9)
    summed = {site: changes[0][site] + changes[1][site] for site in SITES}
    for part, own in zip(rows, changes, strict=True):
        for site in SITES:
            assert torch.allclose(fused[site] @ part.T, own[site] @ part.T, atol=1e-6)
            plain = (summed[site] - own[site]) @ part.T  # inverse: a sum disturbs them
            assert plain.abs().max() > 0.1


def test_retained_rows_are_given_back_what_the_base_takes() -> None:
    rows, kept, base = draw(3, D, seed=0), draw(3, D, seed=1), change(4)
    fused = fuse([rows], [change(2)], kept, base=base, preserve_scale=1.0, lamb=1e-9)
    loose = fuse([rows], [change(2)], kept, base=base, preserve_scale=0.0, lamb=1e-9)
    for site in SITES:
        assert (fused[site] @ kept.T).abs().max() < 1e-6
        assert (loose[site] @ kept.T).abs().max() > 0.1


def test_no_other_change_has_a_smaller_loss() -> None:
    rows, kept, base = [draw(9, D, seed=s) for s in (0, 1)], draw(8, D, seed=5), change(4)
    changes, scale, lamb = [change(2), change(3)], 0.7, 0.3
    fused = fuse(rows, changes, kept, base=base, preserve_scale=scale, lamb=lamb)["to_k"]
    found = fused.clone().requires_grad_()
    start = base["to_k"]
    loss = scale * (found @ kept.T).square().sum() + lamb * (found - start).square().sum()
    for part, own in zip(rows, changes, strict=True):
        loss = loss + ((found - start - own["to_k"]) @ part.T).square().sum()
    (gradient,) = torch.autograd.grad(loss, found)
    assert gradient.abs().max() < 1e-9


def test_an_unsolvable_system_is_said() -> None:
    with pytest.raises(MethodError, match="larger lamb"):
        fuse([torch.zeros(1, D)], [change(2)], NONE, base=NOTHING, lamb=-1.0)
