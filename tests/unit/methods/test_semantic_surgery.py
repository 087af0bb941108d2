"""Semantic Surgery: prompts that ask for the concept lose it, others keep every bit."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from sepme.core.concept import Concept
from sepme.core.surgery_guard import JOINED, SurgeryGuard
from sepme.errors import MethodError
from sepme.methods.semantic_surgery import SemanticSurgery
from sepme.pipeline import ErasedPipeline
from tests.tiny import TINY_CONCEPTS, pixels

OWL, FIG, JAR = TINY_CONCEPTS[:3]
METHOD = SemanticSurgery(beta=-0.6, gamma=0.02)


def guard_of(model: ErasedPipeline, *concepts: Concept, method=METHOD) -> SurgeryGuard:
    (shift,) = method.fit_many(model, concepts)
    return shift.payload


def presence(model: ErasedPipeline, name: str, prompt: str, beta: float, gamma: float) -> float:
    blank, concept, rows = model.encode(["", name, prompt])
    likeness = cosine_similarity(concept - blank, rows, dim=-1).mean()
    return float(1 / (1 + torch.exp(-(likeness + beta) / gamma)))


def test_presence_is_the_formula(tiny_model: ErasedPipeline) -> None:
    guard = guard_of(tiny_model, OWL, FIG, method=SemanticSurgery(beta=-0.1, gamma=0.5))
    prompts = ["owl", "a fig", "sky"]
    found = guard.presence(tiny_model.encode(prompts))
    for i, prompt in enumerate(prompts):
        for k, name in enumerate(("owl", "fig")):
            assert float(found[i, k]) == pytest.approx(
                presence(tiny_model, name, prompt, -0.1, 0.5), abs=1e-4
            )
    assert guard.presence(tiny_model.encode([""])).max() == 0


def test_subtracts_what_is_present(tiny_model: ErasedPipeline) -> None:
    always = SemanticSurgery(beta=1.0, gamma=0.02)  # every prompt counts as asking for both
    guard = guard_of(tiny_model, FIG, OWL, method=always)
    blank, joined, rows = tiny_model.encode(["", "owl, fig", "jar"])
    rho = guard.presence(rows[None]).max()
    torch.testing.assert_close(guard.text(rows[None], 1.0)[0], rows - rho * (joined - blank))
    half = guard.text(rows[None], 0.5)[0]
    torch.testing.assert_close(half, rows - 0.5 * rho * (joined - blank))
    apart = tiny_model.encode(["owl", "fig"]) - blank  # inverse check: a join is not a sum
    assert not torch.allclose(apart.sum(0), joined - blank, atol=1e-2)


def test_only_what_is_present_is_joined(tiny_model: ErasedPipeline) -> None:
    blank, owl, fig = tiny_model.encode(["", "owl", "fig"])
    gate = torch.tensor([[-0.3, 0.001, 1.0]])
    joins = torch.cat([owl, fig, tiny_model.encode(["owl, fig"])[0]])
    guard = SurgeryGuard(blank, torch.cat([owl, fig]), joins, gate)
    own = owl - blank  # as far from the blank prompt as can be
    (a, b), shown = guard.presence(own[None])[0], guard.text(own[None], 1.0)[0]
    assert a > 0.5
    expected = joins.view(3, *blank.shape)[2 if b > 0.5 else 0]
    torch.testing.assert_close(shown, own - max(a, b) * (expected - blank))


def test_other_prompts_keep_every_bit(tiny_model: ErasedPipeline) -> None:
    guard = guard_of(tiny_model, OWL, method=SemanticSurgery(beta=-0.9, gamma=0.02))
    rows = tiny_model.encode(["jar", "fig", ""])
    assert torch.equal(guard.text(rows, 1.0), rows)
    always = guard_of(tiny_model, OWL, method=SemanticSurgery(beta=1.0, gamma=0.02))
    moved = always.text(rows, 1.0)  # inverse check: a gate that is open for all
    assert not torch.equal(moved[:2], rows[:2])
    assert torch.equal(moved[2], rows[2])  # the unconditional rows, in any case


def test_lists_what_keeps_every_bit(tiny_model: ErasedPipeline) -> None:
    concept = Concept("owls", ("owl",))
    strict, loose = (
        SemanticSurgery(beta=beta, gamma=0.02).fit(tiny_model, concept, retain=[FIG, JAR])
        for beta in (-0.9, 1.0)
    )
    assert set(strict.decoupled_from) >= {"blank", FIG.name, JAR.name}
    assert loose.decoupled_from == ("blank",)
    prompts, seeds = [FIG.prompts[0], JAR.prompts[0]], [1, 2]
    before = pixels(tiny_model.generate(prompts, seeds=seeds, steps=2))
    for shift, equal in ((strict, True), (loose, False)):
        tiny_model.erase(shift)
        after = pixels(tiny_model.generate(prompts, seeds=seeds, steps=2))
        assert torch.equal(before, after) == equal
        tiny_model.restore("owls")


def test_many_concepts_are_added_up(tiny_model: ErasedPipeline) -> None:
    words = ("owl", "fig", "jar", "sky", "pen", "cup")
    assert len(words) > JOINED
    concepts = [Concept(word, (word,)) for word in words]
    guard = guard_of(tiny_model, *concepts, method=SemanticSurgery(beta=1.0, gamma=0.02))
    blank, *rows = tiny_model.encode(["", *sorted(words)])
    said = sum(row - blank for row in rows)
    torch.testing.assert_close(
        guard.text(rows[0][None], 1.0)[0], rows[0] - said, rtol=1e-4, atol=1e-4
    )


def test_order_does_not_matter(tiny_model: ErasedPipeline) -> None:
    assert METHOD.fit_many(tiny_model, [OWL, FIG]) == METHOD.fit_many(tiny_model, [FIG, OWL])


def test_bad_tensors_are_refused(tiny_model: ErasedPipeline) -> None:
    tensors = guard_of(tiny_model, OWL).tensors()
    with pytest.raises(MethodError, match="needs"):
        SurgeryGuard.from_tensors({"blank": tensors["blank"]})
    with pytest.raises(MethodError, match="'joins'"):
        SurgeryGuard.from_tensors({**tensors, "joins": tensors["joins"][1:]})
    with pytest.raises(MethodError, match="gamma"):
        SurgeryGuard.from_tensors({**tensors, "gate": torch.tensor([[0.0, 0.0, 1.0]])})


def test_scale_multiplies_what_is_subtracted(tiny_model: ErasedPipeline) -> None:
    rows = tiny_model.encode(OWL.prompts)
    once, twice = (
        SemanticSurgery(beta=1.0, scale=scale).fit(tiny_model, OWL).payload.text(rows, 1.0)
        for scale in (1.0, 2.0)
    )
    assert not torch.equal(once, rows)
    assert torch.allclose(rows - twice, 2 * (rows - once), atol=1e-5)
