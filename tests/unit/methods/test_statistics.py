"""Sufficient statistics of concepts: the same whether they are read or remembered."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sepme.core.concept import BLANK, Concept
from sepme.core.memory import remembered_by
from sepme.io.memory_dir import remembered
from sepme.methods._statistics import Statistics
from sepme.methods.sepme_text import SepMEText
from tests.tiny import D_TEXT, TINY_CONCEPTS

TARGET, OTHER, THIRD = TINY_CONCEPTS[:3]
CROWD = [Concept(f"c{i}", (f"word{i} thing{i}",)) for i in range(80)]


def test_a_fit_is_the_same_with_and_without_memory(tiny_model, tmp_path: Path) -> None:
    alone = SepMEText().fit(tiny_model, TARGET, retain=[OTHER])
    for _ in range(2):  # what is written, and what is read
        with remembered(tmp_path):
            assert SepMEText().fit(tiny_model, TARGET, retain=[OTHER]) == alone
    other = SepMEText(sentences=2).fit(tiny_model, TARGET, retain=[OTHER])
    assert other != alone  # inverse check
    with remembered(tmp_path):  # and what was kept for eight sentences is not used for two
        assert SepMEText(sentences=2).fit(tiny_model, TARGET, retain=[OTHER]) == other


@pytest.fixture
def every_direction(tiny_model) -> Iterator[None]:
    """A last bias of the text encoder that is not zero, as trained ones are.

    Without it one direction of text space is never used.
    """
    parts = tiny_model.pipeline.text_encoder.named_modules()
    norm = next(part for name, part in parts if name.endswith("final_layer_norm"))
    before = norm.bias.detach().clone()
    torch.nn.init.normal_(norm.bias)
    yield
    with torch.no_grad():
        norm.bias.copy_(before)


@pytest.mark.usefixtures("every_direction")
def test_one_more_concept_reads_its_own_prompts_whatever_else_there_is(
    tiny_model, tmp_path: Path, asked: list[str]
) -> None:
    counts = []
    for many in (40, 80):
        with remembered(tmp_path / str(many)):
            SepMEText().fit_many(tiny_model, CROWD[:many])
        del asked[:]
        with remembered(tmp_path / str(many)):
            late = SepMEText().fit(tiny_model, TARGET, retain=CROWD[:many])
        counts.append(len(asked))
        assert not late.provenance.fit["exact"]
    assert counts[0] == counts[1]
    del asked[:]
    SepMEText().fit(tiny_model, TARGET, retain=CROWD)
    assert len(asked) > 5 * counts[1]  # inverse check


@pytest.mark.parametrize(
    ("change", "moves", "stays"),
    [
        ({"name": "another"}, True, True),
        ({"anchor": "a cat"}, False, True),
        ({"kind": "style"}, False, False),
        ({"prompts": ("figs", "pear")}, False, False),
    ],
)
def test_what_is_remembered_is_of_the_same_wording(
    tiny_model, tmp_path: Path, asked: list[str], change: dict, moves: bool, stays: bool
) -> None:
    for role, known in (("moved", moves), ("still", stays)):
        with remembered(tmp_path / role):
            Statistics(tiny_model, sentences=4, most=8).moved(OTHER, weight=1.0)
            again = Statistics(tiny_model, sentences=4, most=8)
            del asked[:]
            told = {"weight": 1.0} if role == "moved" else {}
            getattr(again, role)(replace(OTHER, **change), **told)
        assert (not asked) == known


def test_weights_are_not_part_of_it(tiny_model, tmp_path: Path) -> None:
    with remembered(tmp_path):
        one = Statistics(tiny_model, sentences=4, most=8).moved(TARGET, weight=1.0)
        nine = Statistics(tiny_model, sentences=4, most=8).moved(TARGET, weight=9.0)
    torch.testing.assert_close(nine.rows, 3 * one.rows)


def test_other_circumstances_are_other_statistics(tiny_model, tmp_path: Path) -> None:
    with remembered(tmp_path):
        plain = Statistics(tiny_model, sentences=4, most=8).still(TARGET)
        with torch.autocast("cpu", torch.bfloat16):
            coarse = Statistics(tiny_model, sentences=4, most=8).still(TARGET)
        empty = Concept("empty", ("",), kind=BLANK.kind)
        pair = [Statistics(tiny_model, sentences=4, most=8).still(c) for c in (BLANK, empty)]
    assert not torch.allclose(plain.rows, coarse.rows, rtol=1e-4)
    assert pair[0].rows.shape != pair[1].rows.shape or not torch.equal(*(m.rows for m in pair))
    alone = Statistics(tiny_model, sentences=4, most=8).still(empty)
    assert torch.equal(pair[1].rows, alone.rows)


@pytest.mark.parametrize("shape", [(3,), (1, 8, 3), (3, 8, D_TEXT), (1, 8, D_TEXT)])
def test_what_cannot_be_statistics_is_not_used(tiny_model, shape: tuple[int, ...]) -> None:
    found = torch.full(shape, torch.nan if shape == (1, 8, D_TEXT) else 1.0)

    class Foreign(dict[str, Tensor]):
        def recall(self, key: str) -> Tensor:
            return found

        keep = dict.__setitem__

    kept = Foreign()
    with remembered_by(kept):
        rows = Statistics(tiny_model, sentences=4, most=8).still(TARGET).rows
    assert torch.equal(rows, Statistics(tiny_model, sentences=4, most=8).still(TARGET).rows)
    assert len(kept) == 1
