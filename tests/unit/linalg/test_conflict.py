import pytest
import torch

from sepme.linalg.conflict import without_conflict


def drawn(seed: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    wanted, kept = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64).to(dtype)
    return wanted, kept


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_the_conflict_is_taken_off(seed: int, dtype: torch.dtype) -> None:
    wanted, kept = drawn(seed, dtype)
    wanted = wanted - (1 + (wanted * kept).sum() / kept.square().sum()) * kept  # now they conflict
    assert (wanted * kept).sum() < 0  # inverse check: what was there
    found = without_conflict(wanted, kept)
    size = wanted.norm() * kept.norm()
    assert (found * kept).sum().abs() < 1e3 * torch.finfo(dtype).eps * size
    taken = wanted - found
    assert torch.allclose(taken, (taken * kept).sum() / kept.square().sum() * kept, atol=1e-5)
    assert found.norm() < wanted.norm()
    half = without_conflict(wanted, kept, 0.5)
    assert torch.allclose(half, (wanted + found) / 2, atol=1e-6)
    assert torch.equal(without_conflict(wanted, kept, 0.0), wanted)


@pytest.mark.parametrize("seed", range(6))
def test_without_conflict_nothing_is(seed: int) -> None:
    wanted, kept = drawn(seed, torch.float64)
    agreeing = wanted if (wanted * kept).sum() >= 0 else -wanted
    assert torch.equal(without_conflict(agreeing, kept), agreeing)
    assert not torch.equal(without_conflict(-agreeing, kept), -agreeing)  # inverse check
    assert torch.equal(without_conflict(wanted, torch.zeros_like(kept)), wanted)


def test_the_size_of_what_is_kept_does_not_matter() -> None:
    wanted, kept = drawn(0, torch.float64)
    for scale in (1e-6, 1e6):
        assert torch.allclose(
            without_conflict(wanted, scale * kept), without_conflict(wanted, kept)
        )
