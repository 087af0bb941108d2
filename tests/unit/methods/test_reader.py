import torch

from sepme.methods import METHODS, _reader
from sepme.methods._reader import Reader
from tests.tiny import TINY_CONCEPTS


def test_reads_what_the_model_reads_and_nothing_twice(tiny_model) -> None:
    reader = Reader(tiny_model)
    prompts = ["an owl", "a fox", "an owl"]
    assert torch.equal(reader.encode(prompts), tiny_model.encode(prompts))
    assert torch.equal(reader.encode(prompts[::-1]), tiny_model.encode(prompts[::-1]))
    assert reader.read == 2


def test_keeps_a_bounded_number_of_prompts(tiny_model, monkeypatch) -> None:
    monkeypatch.setattr(_reader, "KEPT", 2)
    reader = Reader(tiny_model)
    reader.encode(["one", "two", "three", "one"])
    assert reader.read == 4


def test_a_fit_of_several_concepts_reads_few_prompts_for_each(tiny_model, asked: list[str]) -> None:
    METHODS["sepme-text"]().fit_many(tiny_model, TINY_CONCEPTS[:1])
    first, asked[:] = len(asked), []
    METHODS["sepme-text"]().fit_many(tiny_model, TINY_CONCEPTS[:3])
    assert len(asked) < 2 * first
