import pytest
import torch

from sepme.core.payload import SiteShift
from sepme.core.text_shift import TextShift
from sepme.linalg.low_rank import LowRank
from sepme.methods._changes import Factors, TextFactors

SITES = {"k": torch.randn(3, 6), "v": torch.randn(5, 6)}
DIRECTIONS = torch.linalg.qr(torch.randn(6, 4)).Q.T
MAP = LowRank(torch.randn(6, 2), torch.randn(2, 6))


@pytest.mark.parametrize(("kind", "payload"), [(Factors, SiteShift), (TextFactors, TextShift)])
def test_begins_at_nothing_or_at_a_map(kind, payload) -> None:
    assert all(not delta.any() for delta in kind.of(SITES, DIRECTIONS, 0.5).deltas().values())
    change = kind.of(SITES, DIRECTIONS, 0.5, MAP)
    inside = MAP.dense().float() @ DIRECTIONS.T @ DIRECTIONS
    stored = change.payload()
    assert isinstance(stored, payload)
    for site, delta in change.deltas().items():
        torch.testing.assert_close(delta, SITES[site] @ inside)
        torch.testing.assert_close(stored.delta(site, SITES[site]).float(), delta)
        assert not torch.allclose(delta, SITES[site] @ MAP.dense().float())  # it reads no more


def test_a_map_of_all_sites_has_the_parameters_of_one() -> None:
    one, each = TextFactors.of(SITES, DIRECTIONS, 0.5), Factors.of(SITES, DIRECTIONS, 0.5)
    assert [tuple(a.shape) for a in one.parameters.values()] == [(6, 4)]
    assert sum(a.numel() for a in each.parameters.values()) == (3 + 5) * 4


def test_steps_of_both_kinds_change_weights_about_as_much() -> None:
    sites = {str(place): torch.randn(200, 300) for place in range(3)}
    basis = torch.eye(300)[:100]
    sizes = []
    for kind in (Factors, TextFactors):
        change = kind.of(sites, basis, 0.5)
        with torch.no_grad():
            for learned in change.parameters.values():
                learned.copy_(torch.randn_like(learned).sign())
        sizes.append(torch.cat(list(change.deltas().values())).detach().square().mean().sqrt())
    assert float(sizes[1] / sizes[0]) == pytest.approx(1, abs=0.05)
