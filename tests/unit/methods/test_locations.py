"""Boxes as bins, the weights of their area, and captions with location tokens."""

import pytest
import torch

from sepme.core.boxes import Box
from sepme.methods._locations import Captions, area_weights, covered


def test_a_box_covers_the_bins_whose_centres_it_holds() -> None:
    corner = Box(0.0, 0.5, 0.5, 1.0, 1.0)
    assert covered([corner], 4).int().tolist() == [[0] * 4, [0] * 4, [1, 1, 0, 0], [1, 1, 0, 0]]
    assert not covered([], 4).any()
    both = covered([corner, Box(0.5, 0.0, 1.0, 0.5, 1.0)], 4)
    assert int(both.sum()) == 8


def test_a_box_smaller_than_a_bin_has_the_bin_of_its_centre() -> None:
    found = covered([Box(0.9, 0.02, 1.0, 0.1, 1.0)], 2)
    assert found.tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize("ratio", [0.1, 1.0, 5.0])
def test_area_weights_are_the_formula_and_sum_to_the_cells(ratio: float) -> None:
    inside = torch.zeros(1, 4, 4, dtype=torch.bool)
    inside[0, :2, :3] = True
    weights, cells, within = area_weights(inside, ratio)[0, 0], 16, 6
    unit = cells / (within + ratio * (cells - within))
    torch.testing.assert_close(weights[0, 0], torch.tensor(unit))
    torch.testing.assert_close(weights[3, 3], torch.tensor(ratio * unit))
    assert float(weights.sum()) == pytest.approx(cells)


def test_tokens_stand_behind_the_words_and_push_the_rest_on() -> None:
    embeds = torch.arange(5.0).view(1, 5, 1).repeat(3, 1, 2)
    captions = Captions.of(embeds, [2, 2, 4], [[1, 0], [], [0, 1]])
    table = torch.tensor([[10.0, 10.0], [20.0, 20.0]], requires_grad=True)
    rows = captions.with_tokens(table)
    assert rows[..., 0].tolist() == [[0, 1, 20, 10, 2], [0, 1, 2, 3, 4], [0, 1, 2, 3, 10]]
    (gradient,) = torch.autograd.grad(rows.sum(), [table])
    assert gradient[:, 0].tolist() == [2, 1]
