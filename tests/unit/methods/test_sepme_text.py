import math

import pytest
import torch
from torch import Tensor

from sepme.core.concept import BLANK, Concept
from sepme.core.shift import ConceptShift
from sepme.errors import SpecError
from sepme.methods._families import family_pairs
from sepme.methods.sepme_text import SepMEText
from sepme.pipeline import ErasedPipeline
from tests.tiny import D_TEXT, TINY_CONCEPTS

TARGET, OTHER, THIRD = TINY_CONCEPTS[:3]
WORDS = ("bat", "cup", "dig", "elk", "fur", "gum", "hip", "ivy", "kin", "lap", "mud", "nut")
CROWD = [Concept(word, (f"{word} {word[::-1]}",)) for word in WORDS]


def moved(shift: ConceptShift, rows: Tensor) -> float:
    """How far a shift moves rows, relative to their size."""
    change = rows.double() @ shift.payload.right.double().T @ shift.payload.left.double().T
    return float(change.norm() / rows.double().norm())


def left(model: ErasedPipeline, concept: Concept, *shifts: ConceptShift) -> float:
    """Share of the way from a concept's family to its anchor that some shifts leave."""
    family = family_pairs(model, concept, 8)
    gap = family.anchors - family.targets
    for shift in shifts:
        read = family.targets @ shift.payload.right.double().T
        gap = gap - read @ shift.payload.left.double().T
    return float(gap.norm() / (family.anchors - family.targets).norm())


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("lamb", 0), ("weight", 0.0), ("weight", math.nan), ("sentences", -1), ("pooled", 1.5),
        ("rank", -1), ("least", 0.0), ("rtol", 2.0), ("target_modules", 3),
    ],
)  # fmt: skip
def test_values_out_of_range(key: str, bad: object) -> None:
    with pytest.raises(SpecError, match=f"^{key} must be .*got"):
        SepMEText(**{key: bad})


def test_the_unet_is_never_run(tiny_model, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(type(tiny_model.pipeline.unet), "forward", refuse)
    assert SepMEText().fit(tiny_model, TARGET).payload.sites == tuple(sorted(tiny_model.sites()))
    with pytest.raises(AssertionError):  # inverse check: it would be noticed
        tiny_model.generate(["a cat"], seeds=[0], steps=1)


def test_listed_prompts_stay_exactly_while_there_is_room(tiny_model) -> None:
    shift = SepMEText().fit(tiny_model, TARGET, retain=[OTHER])
    assert shift.provenance.fit["exact"]
    for concept in (BLANK, OTHER):
        assert concept.name in shift.decoupled_from
        assert moved(shift, tiny_model.encode(concept.prompts)) < 1e-6
    assert moved(shift, tiny_model.encode(TARGET.prompts)) > 1e-2
    loose = SepMEText(least=2.0).fit(tiny_model, TARGET, retain=[OTHER])  # inverse check
    assert not loose.provenance.fit["exact"]
    assert not loose.decoupled_from
    assert moved(loose, tiny_model.encode(OTHER.prompts)) > 1e-5


def test_without_room_it_spares_in_the_mean_square(tiny_model) -> None:
    spared = SepMEText(rank=0, pooled=0).fit(tiny_model, TARGET, retain=CROWD)
    assert spared.provenance.fit["separability"] < 0.05
    assert not spared.decoupled_from
    rows = torch.cat([tiny_model.encode(concept.prompts) for concept in CROWD])
    alone = SepMEText(rank=0, pooled=0, least=2.0).fit(tiny_model, TARGET)
    assert moved(spared, rows) < 0.5 * moved(alone, rows)
    assert left(tiny_model, TARGET, spared) < 0.9


def test_maps_of_several_concepts_add_up(tiny_model) -> None:
    one, two = SepMEText().fit_many(tiny_model, [TARGET, OTHER])
    for own, concept, beside in ((one, TARGET, two), (two, OTHER, one)):
        assert left(tiny_model, concept, own) < 0.5
        assert left(tiny_model, concept, own, beside) == pytest.approx(
            left(tiny_model, concept, own), abs=0.1
        )
        assert left(tiny_model, concept, beside) > 0.9  # given back: nearly nothing has moved


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_a_shift_takes_two_rank_times_width_numbers(tiny_model, rank: int) -> None:
    shift = SepMEText(rank=rank).fit(tiny_model, TARGET)
    assert shift.provenance.fit["rank"] == rank
    assert shift.nbytes == 4 * 2 * rank * D_TEXT


def test_a_higher_rank_and_more_weight_erase_more(tiny_model) -> None:
    ranks = [SepMEText(rank=rank, pooled=0).fit(tiny_model, TARGET) for rank in (1, 4, 0)]
    shares = [left(tiny_model, TARGET, shift) for shift in ranks]
    assert shares[0] > shares[1] > shares[2]
    heavy = SepMEText(rank=0, pooled=0, weight=1000.0).fit(tiny_model, TARGET)
    assert left(tiny_model, TARGET, heavy) < shares[2]


def test_what_a_concept_meant_before_does_not_hold_it_in_place(tiny_model) -> None:
    before = Concept(TARGET.name, ("xyz", "jump"))
    tiny_model.erase(SepMEText().fit(tiny_model, before))
    assert before in tiny_model.known
    own, other = SepMEText().fit_many(tiny_model, [TARGET, OTHER])
    alone = SepMEText().fit(tiny_model, TARGET, retain=[OTHER])
    assert own.provenance.fit["exact"]
    shares = [shift.provenance.fit["separability"] for shift in (own, alone)]
    assert shares[0] == pytest.approx(shares[1])
    assert set(own.decoupled_from) == set(alone.decoupled_from)
    assert moved(own, tiny_model.encode(before.prompts)) > 1e-3
    assert moved(other, tiny_model.encode(before.prompts)) < 1e-6  # all others leave it alone


def test_a_list_gives_the_same_maps_in_whatever_order_it_came(tiny_model) -> None:
    one, two = SepMEText().fit_many(tiny_model, [TARGET, OTHER], retain=[THIRD])
    assert SepMEText().fit_many(tiny_model, [OTHER, TARGET], retain=[THIRD]) == (two, one)
    tiny_model.erase(SepMEText().fit(tiny_model, TARGET, retain=[THIRD]))
    late = SepMEText().fit(tiny_model, OTHER, retain=[THIRD])
    assert SepMEText().fit_many(tiny_model, [TARGET, OTHER], retain=[THIRD]) == (one, two)
    assert late != two  # inverse check: one at a time is not all at once
