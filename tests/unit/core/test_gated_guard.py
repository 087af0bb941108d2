from dataclasses import replace

import pytest
import torch

from sepme.core.gated_guard import GatedGuard
from sepme.errors import Diverged, MethodError

WIDTH, RANK = 6, 2


def guard(seed: int = 0, *, threshold: float = 0.5) -> GatedGuard:
    draw = torch.Generator().manual_seed(seed)
    return GatedGuard(
        discriminant=torch.eye(WIDTH)[seed : seed + 1],
        left=torch.randn(WIDTH, RANK, generator=draw),
        right=torch.randn(RANK, WIDTH, generator=draw),
        threshold=torch.tensor([[threshold]]),
    )


def prompts(*scores: tuple[float, float]) -> torch.Tensor:
    """Prompts of three rows, of which the second has the given score for two guards."""
    rows = torch.randn(len(scores), 3, WIDTH, generator=torch.Generator().manual_seed(9))
    rows[..., :2] = -1.0
    rows[:, 1, :2] = torch.tensor(scores)
    return rows


def same_bits(one: torch.Tensor, two: torch.Tensor) -> bool:
    return one.numpy().tobytes() == two.numpy().tobytes()


def test_it_is_the_map_written_out_where_a_row_says_the_concept() -> None:
    one, rows = guard(), prompts((0.6, 0.0), (0.4, 0.0))
    found = one.text(rows, 0.5)
    for row, changed in zip(rows[0], found[0], strict=True):
        torch.testing.assert_close(changed, row + 0.5 * one.left @ (one.right @ row))
    assert same_bits(found[1], rows[1])
    assert one.fires(rows).tolist() == [True, False]
    loose = replace(one, threshold=torch.tensor([[0.3]]))  # inverse check
    assert not torch.equal(loose.text(rows, 0.5)[1], rows[1])


def test_a_silent_prompt_keeps_even_the_sign_of_a_zero() -> None:
    rows = prompts((0.0, 0.0))
    rows[0, 0, 3] = -0.0
    assert same_bits(guard().text(rows, 1.0), rows)
    assert not same_bits(rows + 0.0, rows)  # inverse check: adding nothing would be seen


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_strength_0_and_the_dtype(dtype: torch.dtype) -> None:
    rows = prompts((2.0, 2.0), (0.0, 0.0)).to(dtype)
    one = guard()
    assert one.text(rows, 0.0) is rows
    found = one.text(rows, 1.0)
    assert found.dtype == dtype
    assert torch.equal(found[1], rows[1])
    assert not torch.equal(found[0], rows[0])


def test_two_of_them_add_up() -> None:
    first, second = guard(0), guard(1)
    rows = prompts((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
    after = first.text_after(rows, rows, 1.0)
    found = second.text_after(after, rows, 0.5)
    change = [(0.5 if g is second else 1.0) * rows @ (g.left @ g.right).T for g in (first, second)]
    torch.testing.assert_close(found[0], rows[0] + change[0][0] + change[1][0])
    assert same_bits(found[1], after[1])
    torch.testing.assert_close(found[2], rows[2] + change[1][2])
    assert same_bits(found[3], rows[3])
    chained = second.text(after, 0.5)  # inverse check: one after the other is something else
    assert not torch.allclose(chained[0], found[0], atol=1e-2)


def test_it_is_differentiable() -> None:
    rows = prompts((1.0, 0.0)).requires_grad_()
    (slope,) = torch.autograd.grad(guard().text(rows, 1.0).sum(), rows)
    assert not torch.equal(slope, torch.ones_like(slope))
    (slope,) = torch.autograd.grad(guard().score(rows).sum(), rows)
    assert slope[0, 1, 0] == 1


def test_it_comes_back_from_its_tensors() -> None:
    one = guard()
    again = GatedGuard.from_tensors(one.tensors())
    assert all(torch.equal(tensor, again.tensors()[name]) for name, tensor in one.tensors().items())


def test_bad_tensors_are_refused() -> None:
    tensors = guard().tensors()
    with pytest.raises(MethodError, match="'left' of a gated map needs shape"):
        GatedGuard.from_tensors({**tensors, "left": tensors["left"].T.contiguous()})
    with pytest.raises(MethodError, match="'threshold'"):
        GatedGuard.from_tensors({**tensors, "threshold": torch.ones(1, 2)})
    with pytest.raises(MethodError, match="needs"):
        GatedGuard.from_tensors({k: v for k, v in tensors.items() if k != "right"})
    with pytest.raises(Diverged):
        GatedGuard.from_tensors({**tensors, "threshold": torch.tensor([[torch.nan]])})
