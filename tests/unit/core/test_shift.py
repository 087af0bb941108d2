import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from sepme.core.concept import Concept
from sepme.core.shift import ConceptShift, Provenance
from sepme.errors import ConceptError, MethodError
from tests.shifts import make_shift


def test_name_and_order_do_not_depend_on_the_order_given() -> None:
    one, two = make_shift("b", "a"), make_shift("a", "b")
    assert one.name == two.name == "a+b"
    assert one == two
    assert hash(one) == hash(two)
    assert one.decoupled_from == ("blank",)


def test_nbytes_counts_the_tensors() -> None:
    shift = make_shift("a")
    assert shift.nbytes == 4 * sum(t.numel() for t in shift.payload.tensors().values())


def test_digest_is_pinned() -> None:
    """A change of this value breaks every ledger in the world."""
    shift = make_shift("a", sites=("down.0.attn2.to_k",))
    payload = type(shift.payload)(torch.ones(1, 2), {"x": torch.ones(3, 1)})
    assert replace(shift, payload=payload).digest == (
        "a6ed0e6312863e2e0bafac9897ba4aa9d0df941df9a75610363916486c982ad4"
    )


def other_seed(shift: ConceptShift) -> ConceptShift:
    return replace(shift, provenance=replace(shift.provenance, seed=5))


def other_number(shift: ConceptShift) -> ConceptShift:
    tensors = {name: t.clone() for name, t in shift.payload.tensors().items()}
    tensors["directions"][0, 0] += 1
    return replace(shift, payload=type(shift.payload).from_tensors(tensors))


@pytest.mark.parametrize(
    "change",
    [
        other_seed,
        other_number,
        lambda s: replace(s, separable=False),
        lambda s: replace(s, decoupled_from=()),
        lambda s: replace(s, concepts=(Concept("a", ("another",)),)),
    ],
)
def test_any_change_changes_the_digest(change: Any) -> None:
    shift = make_shift("a")
    assert change(shift) != shift
    assert make_shift("a") == shift


def test_round_trip_through_parts() -> None:
    shift = make_shift("a", "b", separable=False)
    metadata = json.loads(json.dumps(shift.metadata()))
    assert ConceptShift.from_parts(metadata, shift.payload.tensors()) == shift


@pytest.mark.parametrize(
    "change",
    [
        {"concepts": ()},
        {"concepts": (Concept("a", ("a",)), Concept("a", ("b",)))},
        {"decoupled_from": ("a",)},
    ],
)
def test_contradictions(change: dict[str, Any]) -> None:
    with pytest.raises(MethodError):
        replace(make_shift("a"), **change)


def test_decoupled_from_holds_names() -> None:
    with pytest.raises(ConceptError):
        make_shift("a", decoupled_from=("../x",))


@pytest.mark.parametrize(
    "change",
    [
        {"base": ""},
        {"method": "a b"},
        {"seed": True},
        {"seed": 1.0},
        {"config": {"lr": float("nan")}},
        {"fit": {"x": [1]}},
        {"versions": {1: "x"}},
    ],
)
def test_bad_provenance(change: dict[str, Any]) -> None:
    with pytest.raises((MethodError, ConceptError)):
        replace(make_shift("a").provenance, **change)


def test_provenance_copies_its_mappings() -> None:
    config = {"lr": 0.1}
    provenance = Provenance("sha256:0", "sepme", config, 0, {})
    config["lr"] = 1
    assert provenance.config == {"lr": 0.1}


@pytest.mark.parametrize(
    "change",
    [{"payload": "x"}, {"extra": 1}, {"separable": 1}, {"provenance": {}}, {"decoupled_from": [1]}],
)
def test_foreign_metadata(change: dict[str, Any]) -> None:
    shift = make_shift("a")
    with pytest.raises(MethodError):
        ConceptShift.from_parts({**shift.metadata(), **change}, shift.payload.tensors())
