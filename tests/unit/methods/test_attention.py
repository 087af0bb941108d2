import pytest
import torch

from sepme.methods._attention import attention_masks, for_layer, norm

SIZE = (8, 8)


def spot(side: int, rows: slice, columns: slice) -> torch.Tensor:
    """A map of one head whose second token is looked at from one spot only."""
    seen = torch.full((1, side, side, 3), 0.1)
    seen[:, rows, columns, 1] = 0.8
    return seen.flatten(1, 2)[:, None]


def test_a_mask_is_where_the_words_are_looked_at() -> None:
    maps = {"fine": spot(8, slice(2, 4), slice(4, 6)), "coarse": spot(4, slice(1, 2), slice(2, 3))}
    wanted = torch.zeros(1, *SIZE)
    wanted[0, 2:4, 4:6] = 1
    assert torch.equal(attention_masks(maps, torch.tensor([[0.0, 1, 0]]), SIZE, 0.7), wanted)
    other = attention_masks(maps, torch.tensor([[1.0, 0, 0]]), SIZE, 0.7)  # inverse: another word
    assert not torch.equal(other, wanted)
    assert attention_masks(maps, torch.tensor([[0.0, 1, 0]]), SIZE, 0.0).all()


@pytest.mark.parametrize(("size", "pixels", "count"), [((8, 8), 16, 1), ((9, 5), 15, 2)])
def test_small_things_survive_coarse_layers(size, pixels: int, count: int) -> None:
    mask = torch.zeros(1, *size)
    mask[0, 3, 2] = 1
    assert for_layer(mask, pixels).sum() == count  # two where the grids do not fit
    assert for_layer(mask, pixels).shape == (1, pixels)
    assert torch.equal(for_layer(mask, size[0] * size[1]), mask.flatten(1))


def test_a_norm_of_zero_has_no_gradient() -> None:
    squares = torch.tensor([0.0, 4.0], requires_grad=True)
    roots = norm(squares)
    roots.sum().backward()
    assert roots.tolist() == pytest.approx([0, 2], abs=1e-9)
    assert squares.grad.tolist() == pytest.approx([0, 0.25])
