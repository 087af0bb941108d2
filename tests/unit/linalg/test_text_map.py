"""One map for all weights, against UCE's closed form written out for each weight."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sepme.errors import MethodError
from sepme.linalg.low_rank import LowRank
from sepme.linalg.text_map import adversarial_rows, chained, text_gram, text_map

D_TEXT = 48
WIDTHS = (16, 40, 112)
SCALES = {"erase_scale": 0.7, "preserve_scale": 0.3, "lamb": 0.5}


def rows(n: int, seed: int) -> Tensor:
    """Rows that share a direction, as a text encoder's do."""
    draw = torch.Generator().manual_seed(seed)
    return 3 + torch.randn(n, D_TEXT, generator=draw, dtype=torch.float64)


def per_weight(
    weight: Tensor, targets: Tensor, anchors: Tensor, retained: Tensor,
    *, erase_scale: float, preserve_scale: float, lamb: float,
) -> np.ndarray:  # fmt: skip
    """The edit of one weight, term by term."""
    w = weight.numpy()
    left, right = lamb * w, lamb * np.eye(D_TEXT)
    for c, goal in zip(targets.numpy(), anchors.numpy(), strict=True):
        left = left + erase_scale * np.outer(w @ goal, c)
        right = right + erase_scale * np.outer(c, c)
    for r in retained.numpy():
        left = left + preserve_scale * np.outer(w @ r, r)
        right = right + preserve_scale * np.outer(r, r)
    return left @ np.linalg.inv(right)


def edited(weight: Tensor, found: LowRank) -> Tensor:
    return weight + weight @ found.left @ found.right


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("n", "m"), [(1, 0), (5, 20), (20, 28), (20, 29), (5, 300), (60, 10)])
def test_agrees_with_the_closed_form_of_each_weight(width: int, n: int, m: int) -> None:
    """On both sides of ``n + m = d_text``, where the smaller of two systems is another one."""
    targets, anchors, retained = rows(n, 1), rows(n, 2), rows(m, 3)
    weight = torch.randn(width, D_TEXT, dtype=torch.float64)
    expected = per_weight(weight, targets, anchors, retained, **SCALES)
    found = edited(weight, text_map(targets, anchors, retained, **SCALES))
    assert np.abs(found.numpy() - expected).max() < 1e-10
    for key, value in SCALES.items():  # inverse check: each scale counts
        if key != "preserve_scale" or m:
            other = text_map(targets, anchors, retained, **SCALES | {key: 1.1 * value})
            assert np.abs(edited(weight, other).numpy() - expected).max() > 1e-6


def test_is_the_minimum() -> None:
    targets, anchors, retained = rows(5, 1), rows(5, 2), rows(9, 3)
    weight = torch.randn(7, D_TEXT, dtype=torch.float64)

    def slope(changed: Tensor) -> float:
        changed = changed.clone().requires_grad_()
        wanted = (changed @ targets.T - weight @ anchors.T).square().sum()
        kept = (changed @ retained.T - weight @ retained.T).square().sum()
        loss = 0.7 * wanted + 0.3 * kept + 0.5 * (changed - weight).square().sum()
        return float(torch.autograd.grad(loss, changed)[0].abs().max())

    minimum = edited(weight, text_map(targets, anchors, retained, **SCALES))
    assert slope(minimum) < 1e-10
    assert slope(weight) > 1  # inverse check: there was something to do


@pytest.mark.parametrize("m", [4, 100])
def test_rank_is_the_number_of_distinct_rows(m: int) -> None:
    targets, anchors, retained = rows(6, 1), rows(6, 2), rows(m, 3)
    assert len(text_map(targets, anchors, retained).right) == 6
    thrice = (targets[:2].repeat(3, 1), anchors[:2].repeat(3, 1))
    assert len(text_map(*thrice, retained).right) == 2
    assert len(text_map(targets, targets, retained).right) == 0  # nothing to move
    dense = text_map(targets, anchors, retained).dense()
    assert np.linalg.matrix_rank(dense.numpy()) == 6


def test_scales_trade_erasing_for_leaving_alone() -> None:
    targets, anchors, retained = rows(3, 1), rows(3, 2), rows(5, 3)

    def moved(of: Tensor, **scales: float) -> float:
        change = text_map(targets, anchors, retained, **scales).dense()
        return float((of @ change.T).norm() / of.norm())

    assert moved(retained, preserve_scale=100.0) < moved(retained) / 5
    assert moved(retained, preserve_scale=0.0) > moved(retained)
    assert moved(targets, lamb=1e4) < moved(targets) / 5
    change = text_map(targets, anchors, retained, lamb=1e-6).dense()
    assert torch.allclose(targets + targets @ change.T, anchors, atol=1e-5)
    assert not torch.allclose(targets, anchors, atol=1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_solves_in_float64_whatever_it_is_given(dtype: torch.dtype) -> None:
    parts = [rows(n, seed).to(dtype) for n, seed in ((5, 1), (5, 2), (9, 3))]
    found = text_map(*parts)
    assert found.left.dtype == torch.float64
    assert torch.equal(found.dense(), text_map(*(part.double() for part in parts)).dense())


def test_not_finite() -> None:
    bad = rows(2, 2)
    bad[0, 0] = float("nan")
    for parts in ((bad, rows(2, 1)), (rows(2, 1), bad)):
        with pytest.raises(MethodError, match="not finite"):
            text_map(*parts, rows(3, 3))


def test_a_system_that_cannot_be_solved() -> None:
    twice = torch.ones(2, D_TEXT)
    with pytest.raises(MethodError, match="larger lamb"):
        text_map(twice, 2 * twice, rows(0, 3), lamb=1e-300)


def test_gram_is_the_sum_over_weights() -> None:
    weights = [torch.randn(width, D_TEXT) for width in WIDTHS]
    row = rows(1, 1)[0]
    expected = sum((weight.double() @ row).square().sum() for weight in weights)
    assert torch.isclose(row @ text_gram(weights) @ row, expected)
    assert not torch.isclose(row @ text_gram(weights[1:]) @ row, expected)  # inverse check


@pytest.mark.parametrize("lamb", [1e-3, 1.0])
def test_adversaries_agree_with_the_sum_over_weights(lamb: float) -> None:
    weights = [torch.randn(width, D_TEXT, dtype=torch.float64) for width in WIDTHS]
    found, words = text_map(rows(5, 1), rows(5, 2), rows(9, 3), **SCALES), rows(4, 4)
    edits = [edited(weight, found) for weight in weights]
    inner = lamb * torch.eye(D_TEXT, dtype=torch.float64) + sum(w.T @ w for w in edits)
    outer = sum(new.T @ old for new, old in zip(edits, weights, strict=True))
    expected = words @ (torch.linalg.inv(inner) @ outer).T
    rowwise = adversarial_rows(words, text_gram(weights), found, lamb=lamb)
    assert (rowwise - expected).abs().max() < 1e-10 * expected.abs().max()
    other = adversarial_rows(words, text_gram(weights), found, lamb=2 * lamb)
    assert (other - expected).abs().max() > 1e-6  # inverse check


def test_chained_edits_are_one_edit() -> None:
    first = text_map(rows(5, 1), rows(5, 2), rows(9, 3), **SCALES)
    then = text_map(rows(3, 4), rows(3, 5), rows(9, 3), **SCALES)
    weight = torch.randn(7, D_TEXT, dtype=torch.float64)
    expected = edited(edited(weight, first), then)
    both = chained(first, then)
    assert len(both.right) == 8
    assert (edited(weight, both) - expected).abs().max() < 1e-10
    turned = edited(weight, chained(then, first))
    assert (turned - expected).abs().max() > 1e-3  # inverse check: the order counts
