"""The gated `sepme-text`: prompts that carry the concept are mapped, all others keep every bit."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from sepme.core.concept import Concept
from sepme.core.gated_guard import GatedGuard
from sepme.core.text_shift import TextShift
from sepme.errors import NotSeparable, SpecError
from sepme.io.shift_file import load_shift, save_shift
from sepme.linalg.discriminant import discriminant
from sepme.methods._families import everyday, sentences
from sepme.methods._gates import Gates
from sepme.methods._spans import phrase_rows
from sepme.methods.sepme_text import SepMEText
from sepme.pipeline import ErasedPipeline
from tests.policies import noise
from tests.tiny import pixels

# one token a letter, and letters that no everyday sentence has
OWL, FIG, JAR = (Concept(n, (p,)) for n, p in {"a": "zqx", "b": "kvj", "c": "jar"}.items())
METHOD = SepMEText(gate=True)


def images(model: ErasedPipeline, *prompts: str) -> torch.Tensor:
    return pixels(model.generate(list(prompts), seeds=list(range(len(prompts))), steps=2))


def test_the_map_is_the_ungated_one(tiny_model: ErasedPipeline) -> None:
    gated, plain = (m.fit(tiny_model, OWL, retain=[FIG]) for m in (METHOD, SepMEText(gate=False)))
    assert isinstance(gated.payload, GatedGuard)
    assert isinstance(plain.payload, TextShift)
    assert torch.equal(gated.payload.left, plain.payload.left)
    assert torch.equal(gated.payload.right, plain.payload.right)
    assert SepMEText().resolve().gate is False
    with pytest.raises(SpecError, match="gate must be true or false"):
        SepMEText(gate=1)


def test_same_inputs_same_shift_and_back_from_disk(tiny_model: ErasedPipeline, tmp_path) -> None:
    one, two = (METHOD.fit(tiny_model, OWL, retain=[FIG], seed=s) for s in (5, 5))
    assert one == two
    assert one.separable
    save_shift(one, tmp_path / "shift.safetensors")
    assert load_shift(tmp_path / "shift.safetensors") == one
    tiny_model.erase(one)
    ledger = tiny_model.save(tmp_path / "ledger")
    again = ErasedPipeline(tiny_model.backend)
    again.open(ledger.path)
    assert again.shift(OWL.name) == one


def test_listed_or_not_a_silent_prompt_gives_the_original_image(tiny_model: ErasedPipeline) -> None:
    shift = METHOD.fit(tiny_model, OWL, retain=[FIG])
    silent = (*FIG.prompts, "", "sky", "big pen", "cup")  # the last three are not listed
    assert not shift.payload.fires(tiny_model.encode(silent)).any()
    before = images(tiny_model, *silent, "zqx")
    tiny_model.erase(shift)
    after = images(tiny_model, *silent, "zqx")
    assert torch.equal(after[:-1], before[:-1])
    assert not torch.equal(after[-1], before[-1])  # inverse check: it does act
    tiny_model.restore(OWL.name)
    assert torch.equal(images(tiny_model, *silent, "zqx"), before)
    tiny_model.erase(SepMEText().fit(tiny_model, OWL, retain=[FIG]))
    always = images(tiny_model, *silent)
    assert not torch.equal(always[3:], before[3:-1])  # inverse check: without a gate they change


def test_under_a_policy_and_for_the_whole_model(tiny_model: ErasedPipeline) -> None:
    shifts = METHOD.fit_many(tiny_model, [OWL, FIG])
    prompts = ("zqx", "kvj", "zqx kvj", "jar")
    plain = noise(tiny_model, prompts, guided=True)
    tiny_model.erase(*shifts)
    whole = noise(tiny_model, prompts, guided=True)
    tiny_model.restore("a", "b")
    with tiny_model.policies([{"a", "b"}] * 4):
        policed = noise(tiny_model, prompts, guided=True)
    with tiny_model.policies([{"a"}, {"a"}, {"a"}, {"a"}]):
        one = noise(tiny_model, prompts, guided=True)
    torch.testing.assert_close(policed, whole, atol=1e-5, rtol=1e-5)
    assert torch.equal(one[[1, 3]], plain[[1, 3]])
    assert torch.equal(one[:4], plain[:4])
    assert not torch.allclose(one[4], plain[4], atol=1e-5)  # inverse check


def test_two_gates_add_up_on_the_model(tiny_model: ErasedPipeline) -> None:
    shifts = METHOD.fit_many(tiny_model, [OWL, FIG])
    both = tiny_model.encode(["zqx kvj"])
    guards = [replace(shift.payload, threshold=torch.tensor([[-9.0]])) for shift in shifts]
    total = sum(both @ (guard.left @ guard.right).T for guard in guards)
    chained = guards[1].text(guards[0].text(both, 1.0), 1.0)
    expected, apart = (predicted(tiny_model, rows) for rows in (both + total, chained))
    tiny_model.erase(*(replace(s, payload=g) for s, g in zip(shifts, guards, strict=True)))
    torch.testing.assert_close(predicted(tiny_model, both), expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(apart, expected, atol=1e-4)  # inverse check: not one after another


def predicted(model: ErasedPipeline, rows: torch.Tensor) -> torch.Tensor:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.pipeline.unet(latents, 500, encoder_hidden_states=rows).sample


def test_nothing_it_was_set_on_fires(tiny_model: ErasedPipeline) -> None:
    shift = METHOD.fit(tiny_model, OWL, retain=[FIG, JAR])
    guard, facts = shift.payload, shift.provenance.fit
    assert set(shift.decoupled_from) >= {"blank", "mark", "seal", FIG.name, JAR.name}
    said = [f"{a}{c.prompts[0]}{b}" for c in (FIG, JAR) for a, b in sentences(c, 16)]
    scores = guard.score(tiny_model.encode([*FIG.prompts, *JAR.prompts, "", *said, *everyday()]))
    assert scores.max() < guard.threshold
    assert scores.max() <= facts["others_most"] + 1e-4
    assert guard.fires(tiny_model.encode(OWL.prompts)).all()
    assert facts["false_fires_upper"] == pytest.approx(1 - 0.05 ** (1 / facts["others"]))
    assert (facts["missed"] == 0) == (facts["own_least"] > facts["others_most"])


def test_the_discriminant_is_of_the_phrase_itself(tiny_model: ErasedPipeline) -> None:
    method = SepMEText(gate=True, sentences=0)
    found = method.fit(tiny_model, OWL, retain=[FIG]).payload.discriminant[0]
    others = [c for c in (*tiny_model.known, FIG) if c.name != "blank"]
    blank, *rest = tiny_model.encode(["", *(c.prompts[0] for c in others)])
    scenes = tiny_model.encode([text for text in everyday()[::2] if "zqx" not in text])
    own = tiny_model.encode(["zqx"])[0, phrase_rows(tiny_model, "", "zqx")]
    expected = discriminant(own, torch.cat([blank, *rest, *scenes]))
    torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=1e-3)
    after = tiny_model.encode(["zqx"])[0, 4:]  # inverse check: what follows is not of the phrase
    wrong = discriminant(torch.cat([own, after]), torch.cat([blank, *rest, *scenes]))
    assert not torch.allclose(found.double(), wrong, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["house", "picture", "pencil"])
def test_a_sentence_that_says_the_concept_is_not_anothers(
    tiny_model: ErasedPipeline, name: str
) -> None:
    said = Concept(name, (name,), anchor="thing")
    style = Concept("ink", ("ink",), kind="style")
    gates = Gates(tiny_model, 16)
    without = [*gates._without(said, [style]), *gates._fresh(said, [style])]
    assert not [text for text in without if name in text]
    assert [text for text in without if "ink" in text]
    others = [*gates._without(OWL, [style]), *gates._fresh(OWL, [style])]
    assert [text for text in others if "house" in text]  # inverse check


def test_a_gated_map_is_exact_with_or_without_room(tiny_model: ErasedPipeline) -> None:
    fits = {
        gate: SepMEText(gate=gate, least=2.0).fit(tiny_model, OWL, retain=[FIG])
        for gate in (True, False)
    }
    assert fits[True].provenance.fit["exact"]
    assert FIG.name in fits[True].decoupled_from
    assert not fits[False].provenance.fit["exact"]  # inverse check


def test_a_concept_no_gate_tells_apart_is_refused(tiny_model: ErasedPipeline) -> None:
    same = Concept("alias", ("zqx ", "ZQX"))
    with pytest.raises(NotSeparable, match="no gate tells 'a'"):
        METHOD.fit(tiny_model, OWL, retain=[same])
    METHOD.fit(tiny_model, OWL, retain=[FIG])  # inverse check


def test_everyday_sentences_are_neighbours_of_other_scenes() -> None:
    assert len(set(everyday())) == len(everyday()) == 128
    assert all(one != two for one, two in pairwise(everyday()))
