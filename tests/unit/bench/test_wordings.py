"""Other words are other words, and the name is where it should be."""

import pytest

from sepme import demo
from sepme.bench.benchmark import taught
from sepme.bench.wordings import LONG, RUNGS, WORDINGS, typos, wordings

CONCEPTS = taught(list(WORDINGS))


def test_all_styles_and_several_objects() -> None:
    kinds = [concept.kind for concept in CONCEPTS]
    assert kinds.count("style") == 9
    assert kinds.count("object") >= 10


@pytest.mark.parametrize("concept", CONCEPTS, ids=lambda c: c.name)
def test_every_rung_has_labelled_prompts(concept) -> None:
    for rung in RUNGS:
        triples = wordings(concept, rung)
        assert len({prompt for prompt, _, _ in triples}) == len(triples) >= 1
        assert {t[1 if concept.kind == "style" else 2] for t in triples} == {concept.name}


@pytest.mark.parametrize("concept", CONCEPTS, ids=lambda c: c.name)
def test_paraphrases_and_typos_hold_no_name(concept) -> None:
    name = concept.prompts[0].lower()
    for rung in ("paraphrase", "typo"):
        for prompt, _, _ in wordings(concept, rung):
            assert name not in prompt.lower().split() or name == prompt.lower()
            assert f" {name} " not in f" {prompt.lower()} "
    assert name in wordings(concept, "long")[0][0].lower()  # inverse check: captions do


def test_no_wording_is_a_training_prompt() -> None:
    for concept in CONCEPTS:
        known = {p.lower() for p in (*concept.prompts, *demo.prompts(concept, "train"))}
        for rung in ("paraphrase", "typo", "long"):
            assert not known & {prompt.lower() for prompt, _, _ in wordings(concept, rung)}


def test_long_captions_reach_the_encoder_with_both_names(demo_model) -> None:
    """What lies behind the last token is cut off; the names must not."""
    tokenizer = demo_model.pipeline.tokenizer
    for concept in CONCEPTS:
        for prompt, style, thing in wordings(concept, "long"):
            read = tokenizer.decode(
                tokenizer(prompt, truncation=True, max_length=tokenizer.model_max_length).input_ids
            )
            for label in filter(None, (style, thing)):
                assert label.replace("-", " ") in read.lower(), (prompt, read)
            assert len(prompt.split()) >= 12


def test_typos_differ_from_the_name_by_one_mistake() -> None:
    assert typos("cat") == ("ct", "cta", "caat")
    assert typos("aa")  # a swap of equal letters is no mistake
    assert "aa" not in typos("aa")


def test_templates_name_what_they_should() -> None:
    assert all("{style}" in text and "{object}" in text for text in LONG["style"])
    assert all("{object}" in text and "{style}" not in text for text in LONG["object"])
