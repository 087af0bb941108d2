"""What is erased at each size, and that prompts ask for what they should."""

import pytest

from sepme import demo
from sepme.bench.crowds import SPARED, Crowd, asking_for, order, taught_ones, turn_of
from sepme.verify.cases import labelled


def test_every_prefix_mixes_kinds_and_something_is_left() -> None:
    found = order()
    assert len(found) == len(set(found)) == 40
    assert order() == found
    styles = [concept.kind for concept in taught_ones()].count("style") / len(taught_ones())
    for size in range(1, 30):
        part = [concept.kind for concept in found[:size]].count("style")
        assert part == pytest.approx(styles * size, abs=1) or part == 5
    left = [concept.kind for concept in Crowd.of(found).rest]
    assert {kind: left.count(kind) for kind in SPARED} == dict(SPARED)
    assert found != taught_ones()[:40], "inverse check: it is shuffled"


@pytest.mark.parametrize("size", [1, 5, 40])
def test_prompts_name_what_they_should(size: int) -> None:
    crowd = Crowd.of(order()[:size])
    gone, stay = ({c.name for c in concepts} for concepts in (crowd.erased, crowd.rest))
    assert not gone & stay
    assert len(gone | stay) == len(taught_ones())
    for split in ("literal", "heldout"):
        erased, retained = crowd.asked("erased", split), crowd.asked("retained", split)
        for _, style, thing in erased:
            assert (style is None) != (thing is None), "one label: the concept's own"
            assert {style, thing} & gone
        assert {t[1] or t[2] for t in erased[:size]} == gone, "every concept in the first turn"
        for prompt, style, thing in retained:
            assert not {style, thing} & gone
            words = [f" {c.prompts[0].lower()} " for c in crowd.erased]
            assert not any(word in f" {prompt.lower()} " for word in words)
    assert any(style and thing for _, style, thing in crowd.asked("retained", "heldout"))


def test_a_partner_has_no_label() -> None:
    """Inverse check: the demo's own prompts of a style do label objects."""
    style = next(concept for concept in demo.concepts() if concept.kind == "style")
    assert {thing for _, _, thing in asking_for((style,), "heldout")} == {None}
    own = {thing for _, _, thing in labelled(style, "heldout", "style")}
    assert own - {None}


def test_turns_share_no_image() -> None:
    triples = asking_for(order()[:2], "heldout")
    first, second = (turn_of(triples, 3, 0, turn) for turn in (0, 1))
    assert len(first) == len(second) == 4
    assert not {case.seed for case in first} & {case.seed for case in second}
    assert turn_of(triples, 8, 0)[:4] == first
    assert turn_of(triples, 4, 1)[0].seed != first[0].seed
