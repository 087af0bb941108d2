import pytest
import torch

from sepme.attacks.textual_inversion import TextualInversion, _Word, encode_with, with_slot
from tests.unit.attacks.latent_trial import tiny_trial


@pytest.mark.parametrize("slot", ["a {} b", "{}", "{} b", "a {}", "abcdefghijk {}"])
def test_a_known_word_reads_as_in_a_prompt(tiny_model, slot: str) -> None:
    subject = tiny_trial(tiny_model).subject
    ids = subject.tokenize(["c"])[0]
    word = subject.token_table[ids[1]]
    found = encode_with(subject, [slot], word)
    if len(slot) < 9:
        assert torch.allclose(found, subject.encode([slot.format("c")]), atol=1e-5)
    assert not torch.allclose(found, encode_with(subject, [slot], -word), atol=1e-2)


def test_the_slot_takes_the_place_of_the_name(tiny_model) -> None:
    concept = tiny_trial(tiny_model).concept
    assert with_slot("an Owl, b", concept) == "an {}, b"
    assert with_slot("fig", concept) == "fig {}"


def fixed_loss(search: _Word) -> float:
    """Mean square error of the noise on one large batch."""
    draw, subject = torch.Generator().manual_seed(1), search.subject
    clean = search.clean.repeat(8, 1, 1, 1)
    t = torch.randint(1000, (len(clean),), generator=draw)
    noise = torch.randn(clean.shape, generator=draw)
    kept = subject.alphas_cumprod[t].view(-1, 1, 1, 1)
    with torch.no_grad():
        embeds = encode_with(subject, ["{}"], search.word).expand(len(clean), -1, -1)
        seen = subject.predict_noise(kept.sqrt() * clean + (1 - kept).sqrt() * noise, t, embeds)
    return float((seen - noise).square().mean())


def test_learning_lowers_the_loss_and_touches_nothing_else(tiny_model) -> None:
    search = _Word(TextualInversion(images=4, batch_size=8), tiny_trial(tiny_model), 0)
    before, start = fixed_loss(search), search.word.detach().clone()
    assert fixed_loss(search) == before
    for _ in range(40):
        search.step()
    assert fixed_loss(search) < before - 1e-3
    assert not torch.equal(search.word, start)
    assert all(weight.grad is None for weight in search.subject.unet.parameters())


def test_tries_the_word_on_the_way_and_not_after_a_success(tiny_model) -> None:
    answers = iter([[True, False, False], [False, True]])
    trial = tiny_trial(tiny_model, judge=lambda images: next(answers))
    found = TextualInversion(images=2, batch_size=2, checks=2).run(trial, budget=4)
    assert found.flags == (True, False, True)
    assert found.curve == ((2.0, 1 / 3), (4.0, 2 / 3))
    assert found.queries == 5
