"""Geom-Erasing: the detector's boxes become the negative prompt, and nothing else changes."""

from dataclasses import replace

import pytest
import torch

from sepme.core.concept import Concept
from sepme.core.negative_guard import NegativeGuard
from sepme.errors import MethodError, SpecError
from sepme.methods._spans import text_end
from sepme.methods.geom_erasing import GeomErasing
from sepme.pipeline import ErasedPipeline
from tests.tiny import TOKENS, pixels

LOGO, SEAL = Concept("logo", ("zz",)), Concept("seal-2", ("yy",))
METHOD = GeomErasing(
    detector="tests.boxes:upper_left", images=4, pool=16, max_steps=20, grid=2, batch_size=2
)


def payload(model: ErasedPipeline, *concepts: Concept, method=METHOD) -> NegativeGuard:
    (shift,) = method.fit_many(model, concepts or (LOGO,))
    return shift.payload


def drawn(model: ErasedPipeline, **options) -> torch.Tensor:
    return pixels(model.generate(["owl", "fig"], seeds=[1, 2], steps=2, **options))


def test_the_negative_prompt_is_the_word_and_a_token_for_each_bin(tiny_model) -> None:
    end = text_end(tiny_model, "zz")
    word = tiny_model.encode(["zz"])[0]
    for detector, bins in (("upper_left", 1), ("lower_half", 2)):
        shift = replace(METHOD, detector=f"tests.boxes:{detector}").fit(tiny_model, LOGO)
        negative = shift.payload.negative
        assert shift.provenance.fit["tokens"] == bins
        assert torch.equal(negative[:end], word[:end])
        after = word[end : TOKENS - bins]
        assert torch.equal(negative[end + bins :], after)  # what follows the word is pushed on
        start = word[end - 1].expand(bins, -1)
        assert not torch.allclose(negative[end : end + bins], start, atol=1e-2)


def test_doubtful_boxes_do_not_count(tiny_model: ErasedPipeline) -> None:
    half = replace(METHOD, detector="tests.boxes:lower_half")
    all_of_it = replace(half, confidence=0.1)  # inverse check: the doubtful box is in the rest
    tokens = [m.fit(tiny_model, LOGO).provenance.fit["tokens"] for m in (half, all_of_it)]
    assert tokens == [2, 4]


def test_tokens_come_to_describe_the_images(tiny_model: ErasedPipeline) -> None:
    whole = replace(METHOD, pool=4, batch_size=4, max_steps=60)  # every step sees all latents
    moving, still = (
        replace(whole, learning_rate=rate).fit(tiny_model, LOGO).provenance.fit["loss"]
        for rate in (0.1, 1e-9)  # inverse check: at the second, nothing is learned
    )
    assert moving < still - 1e-3


def test_steers_as_a_negative_prompt_does(tiny_model: ErasedPipeline) -> None:
    asked = drawn(tiny_model, negative_prompt="zz")
    original = drawn(tiny_model)
    blank, word = tiny_model.encode(["", "zz"])
    shift = METHOD.fit(tiny_model, LOGO)
    tiny_model.erase(replace(shift, payload=NegativeGuard(blank, word)))
    assert torch.equal(drawn(tiny_model), asked)
    assert not torch.equal(asked, original)  # inverse check: the prompt does something
    tiny_model.restore(LOGO.name)
    assert torch.equal(drawn(tiny_model), original)


def test_acts_under_guidance_alone(tiny_model: ErasedPipeline) -> None:
    unguided, own = drawn(tiny_model, guidance_scale=1.0), drawn(tiny_model, negative_prompt="jar")
    guided = drawn(tiny_model)
    tiny_model.erase(METHOD.fit(tiny_model, LOGO))
    assert torch.equal(drawn(tiny_model, guidance_scale=1.0), unguided)
    assert torch.equal(drawn(tiny_model, negative_prompt="jar"), own)  # the user's own stays
    assert not torch.equal(drawn(tiny_model), guided)


def test_an_unguided_blank_prompt_is_read_as_it_is(tiny_model: ErasedPipeline) -> None:
    options = {"seeds": [1, 2], "steps": 2}
    for scale, moved in ((1.0, False), (4.0, True)):
        before = pixels(tiny_model.generate(["", "owl"], guidance_scale=scale, **options))
        tiny_model.erase(METHOD.fit(tiny_model, LOGO))
        after = pixels(tiny_model.generate(["", "owl"], guidance_scale=scale, **options))
        tiny_model.restore(LOGO.name)
        assert torch.equal(before, after) != moved


def test_several_concepts_share_one_negative_prompt(tiny_model: ErasedPipeline) -> None:
    both = payload(tiny_model, SEAL, LOGO)
    assert torch.equal(both.negative, payload(tiny_model, LOGO, SEAL).negative)
    end = text_end(tiny_model, "zz, yy")
    assert torch.equal(both.negative[:end], tiny_model.encode(["zz, yy"])[0, :end])


def test_says_what_is_missing(tiny_model: ErasedPipeline) -> None:
    for detector, message in (
        ("", "needs a detector"),
        ("tests.boxes:nothing", "in none of 4 images"),
        ("tests.boxes:too_few", "3 images, expected 4"),
    ):
        with pytest.raises(MethodError, match=message):
            replace(METHOD, detector=detector).fit(tiny_model, LOGO)
    with pytest.raises(SpecError, match="does not import"):
        replace(METHOD, detector="tests.boxes:absent").fit(tiny_model, LOGO)
    with pytest.raises(SpecError, match="no locator is named"):
        replace(METHOD, detector="absent").fit(tiny_model, LOGO)
    with pytest.raises(SpecError, match="preset may not choose"):
        METHOD.resolve({"detector": "os:system"})


def test_bad_tensors_are_refused(tiny_model: ErasedPipeline) -> None:
    tensors = payload(tiny_model).tensors()
    with pytest.raises(MethodError, match="needs"):
        NegativeGuard.from_tensors({"blank": tensors["blank"]})
    with pytest.raises(MethodError, match="shape"):
        NegativeGuard.from_tensors({**tensors, "negative": tensors["negative"][1:]})
