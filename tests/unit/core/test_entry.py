import json
from typing import Any

import pytest

from sepme.core.entry import Entry
from sepme.errors import LedgerCorrupt, LedgerError
from tests.shifts import make_shift


@pytest.mark.parametrize("strength", [0, -1, 2.1, float("nan"), float("inf")])
def test_strength_out_of_range(strength: float) -> None:
    with pytest.raises(LedgerError, match="restore it"):
        Entry.of(make_shift("a"), strength)


def test_round_trip() -> None:
    entry = Entry.of(make_shift("b", "a"), 2)
    assert entry.name == "a+b"
    assert Entry.from_dict(json.loads(json.dumps(entry.to_dict()))) == entry


@pytest.mark.parametrize(
    "change",
    [
        {"strength": 0},
        {"strength": "1"},
        {"active": 1},
        {"concepts": []},
        {"concepts": [{"name": "../x", "prompts": ["x"], "anchor": "", "kind": "concept"}]},
        {"concepts": list(reversed(Entry.of(make_shift("a", "b")).to_dict()["concepts"]))},
        {"concepts": 2 * Entry.of(make_shift("a")).to_dict()["concepts"]},
        {"decoupled_from": ["A"]},
        {"method": "../x"},
        {"extra": None},
    ],
)
def test_foreign_data(change: dict[str, Any]) -> None:
    with pytest.raises(LedgerCorrupt):
        Entry.from_dict({**Entry.of(make_shift("a")).to_dict(), **change})
