import pytest
import torch

from sepme.methods._correlation import UNITS, correlation

ORIGINAL = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0))


def test_by_batch_it_is_the_papers_mean() -> None:
    changed = torch.randn(ORIGINAL.shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(correlation(changed, ORIGINAL), (changed * ORIGINAL).mean())


@pytest.mark.parametrize("unit", ["sample", "channel"])
def test_shares_go_from_one_to_zero(unit: str) -> None:
    assert correlation(ORIGINAL, ORIGINAL, unit).item() == pytest.approx(1)
    assert correlation(0.3 * ORIGINAL, ORIGINAL, unit).item() == pytest.approx(0.3)
    assert correlation(0 * ORIGINAL, ORIGINAL, unit).item() == 0
    assert correlation(-ORIGINAL, ORIGINAL, unit).item() == 0
    assert correlation(-ORIGINAL, ORIGINAL).item() < 0  # inverse check: the batch rewards reversal


def test_what_is_reversed_hides_nothing_of_the_rest() -> None:
    sample = ORIGINAL * torch.tensor([-9.0, 1.0, 1.0]).view(3, 1, 1, 1)
    assert correlation(sample, ORIGINAL, "sample").item() == pytest.approx(2 / 3)
    channel = ORIGINAL * torch.tensor([-9.0, 1.0, 1.0, 1.0]).view(1, 4, 1, 1)
    assert correlation(channel, ORIGINAL, "channel").item() == pytest.approx(3 / 4)
    assert (
        correlation(channel, ORIGINAL, "sample").item() == 0
    )  # inverse check: the sample hides it


@pytest.mark.parametrize("unit", ["sample", "channel"])
def test_weak_units_count_like_strong_ones(unit: str) -> None:
    weights = torch.tensor([1e-3, 1.0, 1e3]).view(3, 1, 1, 1)
    changed = torch.tensor([1.0, 0.5, 0.0]).view(3, 1, 1, 1) * ORIGINAL
    even, uneven = (correlation(w * changed, w * ORIGINAL, unit) for w in (1, weights))
    assert even.item() == pytest.approx(uneven.item(), rel=1e-5)
    batch = [correlation(w * changed, w * ORIGINAL).item() for w in (1, weights)]
    assert batch[0] != pytest.approx(batch[1], rel=1e-2)  # inverse check


def test_the_gradient_leaves_what_is_down_alone() -> None:
    signs = torch.tensor([-1.0, 1.0, 1.0]).view(3, 1, 1, 1)
    changed = (signs * ORIGINAL).requires_grad_()
    for unit in UNITS:
        (gradient,) = torch.autograd.grad(correlation(changed, ORIGINAL, unit), changed)
        assert gradient[1].abs().sum() > 0
        assert (gradient[0].abs().sum() == 0) == (unit != "batch")
