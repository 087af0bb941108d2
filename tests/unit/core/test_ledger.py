import json
from dataclasses import replace
from typing import Any

import pytest

from sepme.core.concept import Concept
from sepme.core.entry import Entry
from sepme.core.ledger import Ledger
from sepme.errors import BaseMismatch, Interference, LedgerCorrupt, NotErased, NotSeparable
from tests.shifts import BASE, make_shift

EMPTY = Ledger(BASE)


def test_erase_then_restore_keeps_it_known() -> None:
    ledger = EMPTY.erase(make_shift("b")).erase(make_shift("a"), 0.5)
    assert ledger.erased == ("a", "b")
    assert ledger.entry("a").strength == 0.5
    restored = ledger.restore("a")
    assert restored.erased == ("b",)
    assert [concept.name for concept in restored.known] == ["a", "b"]
    assert ledger.erased == ("a", "b")


def test_erasing_again_replaces() -> None:
    ledger = EMPTY.erase(make_shift("a")).erase(make_shift("a", seed=1))
    assert [entry.shift for entry in ledger.entries] == [make_shift("a", seed=1).digest]
    assert ledger.restore("a").erase(make_shift("a", seed=1)) == ledger


def test_known_prefers_the_active_definition() -> None:
    old, new = make_shift("a", "b", separable=False), make_shift("a")
    new = replace(new, concepts=(Concept("a", ("new words",)),))
    ledger = EMPTY.erase(old).restore("a", "b").erase(new)
    assert ledger.known[0].prompts == ("new words",)


def test_another_base() -> None:
    with pytest.raises(BaseMismatch, match="Fit it again"):
        EMPTY.erase(make_shift("a", base="sha256:other"))


def test_restoring_what_is_not_erased() -> None:
    ledger = EMPTY.erase(make_shift("van-gogh"))
    with pytest.raises(NotErased, match="Did you mean 'van-gogh'"):
        ledger.restore("van-gog")
    with pytest.raises(NotErased):
        ledger.restore("van-gogh").restore("van-gogh")
    with pytest.raises(NotErased, match="never"):
        ledger.entry("x")


def test_a_second_shift_that_is_not_separable_interferes() -> None:
    ledger = EMPTY.erase(make_shift("a", separable=False))
    assert ledger.erase(make_shift("b")).erased == ("a", "b")
    assert ledger.erase(make_shift("a", seed=1, separable=False)).erased == ("a",)
    with pytest.raises(Interference, match="allow"):
        ledger.erase(make_shift("b", separable=False))
    both = ledger.erase(make_shift("b", separable=False), allow_interference=True)
    assert both.erased == ("a", "b")


def test_joint_erasure_is_restored_as_a_whole() -> None:
    ledger = EMPTY.erase(make_shift("a", "b", separable=False)).erase(make_shift("c"))
    with pytest.raises(NotSeparable, match="as a whole"):
        ledger.restore("a")
    assert ledger.restore("a+b").erased == ledger.restore("b", "a").erased == ("c",)


def test_joint_erasure_cannot_be_split_by_a_new_shift() -> None:
    ledger = EMPTY.erase(make_shift("a", "b", separable=False))
    with pytest.raises(Interference, match="bring back"):
        ledger.erase(make_shift("a"), allow_interference=True)


def test_joint_erasure_takes_over_from_single_ones() -> None:
    ledger = EMPTY.erase(make_shift("a")).erase(make_shift("a", "b", separable=False))
    assert ledger.erased == ("a", "b")
    assert [entry.name for entry in ledger.active] == ["a+b"]
    assert ledger.entry("a").name == "a+b"


def test_round_trip() -> None:
    ledger = EMPTY.erase(make_shift("b")).erase(make_shift("a")).restore("b")
    assert Ledger.from_dict(json.loads(json.dumps(ledger.to_dict()))) == ledger


def test_events_fold_to_the_same_ledger() -> None:
    shift = make_shift("a")
    erase = {"event": "erase", "entries": [Entry.of(shift).to_dict()], "reason": None}
    restore = {"event": "restore", "concepts": ["a"], "reason": "licence"}
    assert EMPTY.apply(erase) == EMPTY.erase(shift)
    assert EMPTY.apply(erase).apply(restore) == EMPTY.erase(shift).restore("a")


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"event": "explode"},
        {"event": "erase", "entries": None},
        {"event": "erase", "entries": [{}]},
        {"event": "restore", "concepts": ["a"]},
        {"event": "restore", "concepts": [1]},
        {"event": "restore", "concepts": "a"},
    ],
)
def test_foreign_events(event: dict[str, Any]) -> None:
    with pytest.raises(LedgerCorrupt):
        EMPTY.apply(event)


def test_overlapping_entries_are_refused() -> None:
    single, joint = Entry.of(make_shift("a")), Entry.of(make_shift("a", "b"))
    for entries in ((single, single), (single, joint)):
        with pytest.raises(LedgerCorrupt, match="twice"):
            Ledger(BASE, entries)
    assert Ledger(BASE, (replace(single, active=False), joint)).erased == ("a", "b")
