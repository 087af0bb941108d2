import numpy as np
import pytest
import torch

from sepme.linalg.low_rank import LowRank, compress


def random_term(d_out: int, d_in: int, rank: int, seed: int) -> LowRank:
    draw = torch.Generator().manual_seed(seed)
    return LowRank(
        torch.randn(d_out, rank, generator=draw), torch.randn(rank, d_in, generator=draw)
    )


@pytest.mark.parametrize(("d_out", "d_in"), [(5, 9), (9, 5), (3, 3)])
@pytest.mark.parametrize("ranks", [(1,), (2, 2), (3, 4, 5)])
def test_sum_is_kept_at_its_true_rank(d_out: int, d_in: int, ranks: tuple[int, ...]) -> None:
    terms = [random_term(d_out, d_in, rank, seed) for seed, rank in enumerate(ranks)]
    total = sum(term.dense() for term in terms)
    both = compress(terms)
    assert torch.allclose(both.dense(), total, atol=1e-12)
    assert both.left.shape[1] == np.linalg.matrix_rank(total.numpy())


def test_factors_are_balanced() -> None:
    left, right = compress([random_term(6, 8, 3, 0)])
    assert torch.allclose(left.T @ left, right @ right.T)


def test_repeated_directions_are_merged_and_zero_has_no_rank() -> None:
    term = random_term(6, 8, 3, 0)
    assert compress([term, term]).left.shape == (6, 3)
    nothing = compress([LowRank(torch.zeros(6, 3), term.right)])
    assert (nothing.left.shape, nothing.right.shape) == ((6, 0), (0, 8))
