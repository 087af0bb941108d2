import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sepme.errors import MethodError
from sepme.linalg.null_space import null_space, private_directions
from sepme.linalg.separability import separability_matrix

D, TOKENS = 48, 5
SITES = {"down.attn2.to_k": 7, "up.attn2.to_v": 4}


def concepts(n: int, *, prompts: int = 1, seed: int = 0) -> list[Tensor]:
    """``(prompts, TOKENS, D)`` each; the first row is shared by all, as a text encoder's is."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, prompts, TOKENS, D, generator=draw)
    rows[:, :, 0] = rows[0, 0, 0].clone()
    return list(rows)


def shift(directions: Tensor, seed: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {
        site: torch.randn(d_out, len(directions), generator=draw).double() @ directions
        for site, d_out in SITES.items()
    }


def separable(rows: list[Tensor]) -> list[dict[str, Tensor]]:
    deltas = []
    for k, own in enumerate(rows):
        others = torch.stack([torch.zeros_like(own), *rows[:k], *rows[k + 1 :]])
        deltas.append(shift(private_directions(own, null_space(others)), k))
    return deltas


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_null_space_shifts_give_the_identity(n: int) -> None:
    rows = concepts(n)
    table = separability_matrix(rows, separable(rows))
    assert (table.shape, table.dtype) == ((n, n), torch.float64)
    assert torch.equal(table.diagonal(), torch.ones(n, dtype=torch.float64))
    assert (table - torch.eye(n)).abs().max() < 1e-6


def test_shifts_anywhere_do_not() -> None:
    rows = concepts(4)
    table = separability_matrix(rows, [shift(torch.randn(3, D).double(), k) for k in range(4)])
    assert (table + 2 * torch.eye(4)).min() > 0.2


def test_one_shift_that_forgot_a_concept_shows_in_one_entry() -> None:
    rows = concepts(3)
    deltas = separable(rows)
    deltas[1] = shift(private_directions(rows[1], null_space(rows[0])), 1)  # knows not of 2
    table = separability_matrix(rows, deltas)
    assert table[1, 2] > 0.05
    table[1, 2] = 0
    assert (table - torch.eye(3)).abs().max() < 1e-6


def test_entries_against_loops() -> None:
    rows, deltas = concepts(3), [shift(torch.randn(2, D).double(), k) for k in range(3)]

    def effect(i: int, j: int) -> float:
        images = [change @ e.double() for change in deltas[i].values() for e in rows[j][0]]
        return math.sqrt(sum(float(image @ image) for image in images))

    expected = [[effect(i, j) / effect(i, i) for j in range(3)] for i in range(3)]
    assert np.allclose(separability_matrix(rows, deltas).numpy(), expected, rtol=1e-12)


def test_repeating_prompts_and_scaling_shifts_change_nothing() -> None:
    rows, deltas = concepts(3), [shift(torch.randn(2, D).double(), k) for k in range(3)]
    table = separability_matrix(rows, deltas)
    rows[2] = rows[2].expand(4, TOKENS, D)
    deltas[0] = {site: 1e-4 * change for site, change in deltas[0].items()}
    assert torch.allclose(separability_matrix(rows, iter(deltas)), table, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows, deltas: (rows, deltas[:1]), "1 for 2 concepts"),
        (lambda rows, deltas: ([], []), "one shift per concept"),
        (lambda rows, deltas: (rows, [{}, deltas[1]]), "shift 0 does nothing"),
        (lambda rows, deltas: (rows, [{"to_k": torch.zeros(3, 7)}] * 2), r"d_text = \[48\]"),
        (lambda rows, deltas: ([rows[0], rows[1][:0]], deltas), "at least one prompt"),
        (lambda rows, deltas: ([rows[0], rows[1] * math.nan], deltas), "finite"),
    ],
)
def test_what_does_not_fit_is_refused(change, said: str) -> None:
    rows = concepts(2)
    with pytest.raises(MethodError, match=said):
        separability_matrix(*change(rows, separable(rows)))
