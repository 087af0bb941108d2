import json
import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepme.core.concept import BLANK, Concept
from sepme.errors import ConceptError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.mark.parametrize(
    "name", ["", "-a", "A", "a b", "a/b", "..", "a\n", "a" * 101, "é", "a_b", None, 3]
)
def test_bad_names(name: object) -> None:
    with pytest.raises(ConceptError, match="van-gogh"):
        Concept(name, ("x",))


@pytest.mark.parametrize("name", ["a", "0", "a-1", "a" * 100])
def test_good_names(name: str) -> None:
    assert Concept(name, ("x",)).name == name


@pytest.mark.parametrize("prompts", [(), ("",), ("a", " "), "a", ["a"], (1,), None, ("\ud800",)])
def test_bad_prompts(prompts: object) -> None:
    with pytest.raises(ConceptError, match="prompt"):
        Concept("a", prompts)


def test_only_the_blank_concept_may_be_blank() -> None:
    assert BLANK.prompts == ("",)
    with pytest.raises(ConceptError):
        Concept("blank", ("",))
    with pytest.raises(ConceptError):
        Concept("blank", ("", ""), kind="blank")


@pytest.mark.parametrize("field", [{"anchor": None}, {"kind": "A b"}, {"kind": None}])
def test_bad_anchor_or_kind(field: dict[str, str]) -> None:
    with pytest.raises(ConceptError):
        Concept("a", ("a",), **field)


@pytest.mark.parametrize(
    ("text", "name"),
    [("Van Gogh", "van-gogh"), ("  C'est  ça! ", "c-est-ca"), ("Ω 3", "3"), ("x" * 300, "x" * 100)],
)
def test_from_text_names_it(text: str, name: str) -> None:
    concept = Concept.from_text(text, kind="style")
    assert (concept.name, concept.prompts, concept.kind) == (name, (text.strip(),), "style")


@pytest.mark.parametrize("text", ["", " ", "北斎", "!?"])
def test_from_text_without_a_name(text: str) -> None:
    with pytest.raises(ConceptError, match="Name it yourself"):
        Concept.from_text(text)


@given(st.text(max_size=150))
def test_from_text_gives_a_concept_or_says_why(text: str) -> None:
    try:
        concept = Concept.from_text(text)
    except ConceptError:
        latin = set(string.ascii_letters + string.digits)
        assert not latin & set(text)
    else:
        assert Concept(concept.name, concept.prompts) == concept


def test_round_trip_through_json() -> None:
    concept = Concept("a", ("a", "ä"), anchor="b", kind="style")
    assert Concept.from_dict(json.loads(json.dumps(concept.to_dict()))) == concept
    assert Concept.from_dict(BLANK.to_dict()) == BLANK


@given(json_values)
def test_foreign_data_raises_nothing_else(data: object) -> None:
    with pytest.raises(ConceptError):
        Concept.from_dict(data)


@given(st.sampled_from(["name", "prompts", "anchor", "kind", "extra"]), json_values)
def test_one_foreign_field_is_accepted_or_refused(field: str, value: object) -> None:
    data = {**Concept("a", ("a",)).to_dict(), field: value}
    with suppress(ConceptError):
        assert Concept.from_dict(data).to_dict() == data
