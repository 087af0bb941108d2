from sepme.core.concept import Concept
from sepme.demo.templates import TEMPLATES
from sepme.methods._templates import wordings


def test_styles_are_said_of_scenes_and_things_of_nothing() -> None:
    style = wordings(Concept("ink", ("Ink", "sumi-e"), kind="style"))
    assert len({one.target for one in style}) == len(style) == 60
    assert {one.phrase for one in style[:2]} == {"Ink", "sumi-e"}
    assert all(one.anchor and one.phrase not in one.anchor for one in style)
    assert all(one.target == f"{one.anchor}{one.target[len(one.anchor) :]}" for one in style)
    for kind in ("object", "concept"):
        said = wordings(Concept("owl", ("owl",), kind=kind))
        assert said[0].target == "owl"
        assert {one.anchor for one in said} == {""}


def test_an_anchor_takes_the_phrases_place() -> None:
    for kind in ("style", "object", "concept"):
        for one in wordings(Concept("owl", ("owl",), anchor="bird", kind=kind)):
            assert one.anchor == one.target.replace("owl", "bird")
            assert one.target == f"{one.before}owl{one.after}"


def test_none_is_held_out() -> None:
    forms = {t.format(style="owl", object="owl") for t in TEMPLATES["heldout"]["object"]}
    assert not forms & {one.target for one in wordings(Concept("owl", ("owl",), kind="object"))}
