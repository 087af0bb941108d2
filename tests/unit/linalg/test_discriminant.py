import numpy as np
import pytest
import torch

from sepme.errors import MethodError
from sepme.linalg.discriminant import discriminant

DRAW = torch.Generator().manual_seed(0)
STRETCH = torch.diag(torch.tensor([5.0, 1.0, 0.2, 1.0]))
OWN = torch.randn(40, 4, generator=DRAW) @ STRETCH + torch.tensor([1.0, 1.0, 1.0, 0.0])
OTHER = torch.randn(90, 4, generator=DRAW) @ STRETCH


def test_it_is_the_formula_written_out() -> None:
    own, other = OWN.double().numpy(), OTHER.double().numpy()
    spread = sum(len(x) * np.cov(x.T, bias=True) for x in (own, other)) / 130
    gap = own.mean(0) - other.mean(0)
    found = np.linalg.inv(spread + 0.1 * np.trace(spread) / 4 * np.eye(4)) @ gap
    np.testing.assert_allclose(discriminant(OWN, OTHER, ridge=0.1), found / (found @ gap))


def test_it_tells_groups_apart_better_than_their_means_do() -> None:
    def spread(direction: torch.Tensor) -> float:
        scores = [rows.double() @ direction for rows in (OWN, OTHER)]
        return float(scores[0].var() + scores[1].var()) / float(
            (scores[0].mean() - scores[1].mean()) ** 2
        )

    gap = (OWN.mean(0) - OTHER.mean(0)).double()
    assert spread(discriminant(OWN, OTHER)) < 0.1 * spread(gap)
    assert spread(discriminant(OWN, OTHER, ridge=1e9)) == pytest.approx(spread(gap), rel=1e-6)


@pytest.mark.parametrize("ridge", [1e-6, 1e-3, 1.0])
def test_a_score_counts_distances_of_the_means(ridge: float) -> None:
    vector = discriminant(OWN, OTHER, ridge=ridge)
    scores = [float((rows.double() @ vector).mean()) for rows in (OWN, OTHER)]
    assert scores[0] - scores[1] == pytest.approx(1)


def test_fewer_rows_than_dimensions_will_do() -> None:
    vector = discriminant(torch.eye(3)[:1], torch.eye(3)[1:2])  # no spread at all
    torch.testing.assert_close(vector, torch.tensor([0.5, -0.5, 0.0], dtype=torch.float64))


def test_bad_rows_are_refused() -> None:
    with pytest.raises(MethodError, match=r"0 and 90 rows.*text window") as empty:
        discriminant(OWN[:0], OTHER)
    assert "finite" not in str(empty.value)
    spoilt = OTHER.clone()
    spoilt[:3, 1] = torch.nan
    with pytest.raises(MethodError, match=r"3 of 90 rows.*not finite.*float32") as broken:
        discriminant(OWN, spoilt)
    assert "text window" not in str(broken.value)  # another cause, another advice
    with pytest.raises(MethodError, match="one mean"):
        discriminant(OWN, OWN)
