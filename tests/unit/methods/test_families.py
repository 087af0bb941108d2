import pytest
import torch

from sepme.core.concept import BLANK, Concept
from sepme.demo.templates import TEMPLATES
from sepme.methods._families import family_pairs, family_rows, sentences
from tests.tiny import TINY_CONCEPTS, TOKENS

TARGET = TINY_CONCEPTS[0]


@pytest.mark.parametrize("kind", ["style", "object", "person"])
def test_fewer_sentences_are_a_prefix_of_more(kind: str) -> None:
    concept = Concept("it", ("it",), kind=kind)
    many = sentences(concept, 1000)
    assert len(set(many)) == len(many) >= 16
    assert sentences(concept, 5) == many[:5]
    assert sentences(concept, 0) == []
    assert any(after for _, after in many)  # not all end with the concept


def test_no_sentence_is_a_held_out_template() -> None:
    said = {
        f"{before}{{}}{after}"
        for kind in ("style", "object")
        for before, after in sentences(Concept("it", ("it",), kind=kind), 1000)
    }
    slots = TEMPLATES["heldout"]
    forms = {form.replace("{object}", "{}") for form in slots["object"]}
    forms |= {form.replace("{style}", "{}") for form in slots["style"]}
    assert not said & forms
    trained = {form.replace("{object}", "{}") for form in TEMPLATES["train"]["object"]}
    assert said & trained  # inverse check: the two are spelled alike


def test_rows_before_the_concept_are_not_moved(tiny_model) -> None:
    found = family_pairs(tiny_model, TARGET, 4)
    assert found.targets.shape == found.anchors.shape
    everything = family_rows(tiny_model, TARGET, 4)
    prompts = len(TARGET.prompts) + 4
    assert len(everything) == prompts * TOKENS
    assert len(found.targets) < len(everything)
    start = tiny_model.encode(BLANK.prompts)[0, 0].double()
    assert not any(torch.equal(row, start) for row in found.targets)
    assert any(torch.allclose(row, start, atol=1e-5) for row in everything)


def test_the_anchor_takes_the_concepts_place(tiny_model) -> None:
    named = Concept("it", TARGET.prompts, anchor="a cat", kind="object")
    blank = Concept("it", TARGET.prompts, kind="object")
    one, other = (family_pairs(tiny_model, concept, 3).anchors for concept in (named, blank))
    assert len(one) != len(other) or not torch.equal(one, other)
    wanted = tiny_model.encode(("the a cat",))[0].double()
    assert any(torch.allclose(row, wanted[-1], atol=1e-5) for row in one)
    assert not any(torch.allclose(row, wanted[-1], atol=1e-5) for row in other)
