import pytest
import torch

from sepme.errors import MethodError
from sepme.methods._spans import phrase_rows, text_end

PHRASES = ("Van Gogh", "church", "arcimboldo", "a simple card")


@pytest.mark.parametrize("before", ["", "a picture of the ", "a house, "])
@pytest.mark.parametrize("phrase", PHRASES)
def test_agrees_with_the_tokenizer(demo_model, before: str, phrase: str) -> None:
    tokenizer = demo_model.pipeline.tokenizer
    start = len(tokenizer(before).input_ids) - 1
    count = len(tokenizer(phrase).input_ids) - 2
    assert phrase_rows(demo_model, before, phrase) == slice(start, start + count)


def test_blank_and_full_windows(tiny_model) -> None:
    assert text_end(tiny_model, "") == text_end(tiny_model, "  ") == 1
    assert phrase_rows(tiny_model, "", "") == slice(1, 1)
    assert text_end(tiny_model, "owl") == 4  # a token a letter
    long = "a prompt longer than the window"
    assert text_end(tiny_model, long) == 7  # its end token
    assert phrase_rows(tiny_model, long, "owl") == slice(7, 7)


def test_an_encoder_that_looks_ahead_is_refused(tiny_model, monkeypatch) -> None:
    def ahead(self, prompts):
        return torch.stack([torch.full((8, 4), float(len(prompt) + 1)) for prompt in prompts])

    monkeypatch.setattr(type(tiny_model), "encode", ahead)
    with pytest.raises(MethodError, match="causal"):
        text_end(tiny_model, "owl")
