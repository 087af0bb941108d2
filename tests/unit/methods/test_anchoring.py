import torch

from sepme.core.concept import BLANK
from sepme.linalg.null_space import null_space
from sepme.methods._anchoring import WEIGHT, anchoring, moved, still
from tests.tiny import TINY_CONCEPTS

TARGET, OTHER, THIRD = TINY_CONCEPTS[:3]


def test_rows_to_move_count_more_often(tiny_model) -> None:
    once, often = moved(tiny_model, TARGET, weight=1.0), moved(tiny_model, TARGET)
    torch.testing.assert_close(often.rows, WEIGHT**0.5 * once.rows)
    torch.testing.assert_close(often.moves, WEIGHT**0.5 * once.moves)


def test_what_stays_moves_nowhere(tiny_model) -> None:
    rest = still(tiny_model, TARGET)
    assert rest.rows.any()
    assert not rest.moves.any()
    assert moved(tiny_model, TARGET).moves.any()


def test_a_map_reads_the_directions_it_is_given_and_spares_the_others(tiny_model) -> None:
    listed = tiny_model.encode((*BLANK.prompts, *OTHER.prompts))
    basis = null_space(listed).basis
    change = anchoring(tiny_model, TARGET, (BLANK, OTHER), basis)
    read = change.right @ basis.T @ basis
    torch.testing.assert_close(read, change.right)
    rows = {name: still(tiny_model, c, most=0).rows for name, c in
            {"own": TARGET, "listed": OTHER, "unlisted": THIRD}.items()}  # fmt: skip
    shares = {name: float((own @ change.dense().T).norm() / own.norm())
              for name, own in rows.items()}  # fmt: skip
    assert shares["listed"] < shares["unlisted"] < shares["own"]
