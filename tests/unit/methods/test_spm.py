"""What SPM promises: adapters act on prompts like their concept, side by side, and do not mix."""

import pytest
import torch
from torch.nn.functional import cosine_similarity, mse_loss

from sepme.core.adapter_guard import AdapterGuard
from sepme.errors import MethodError
from sepme.methods.spm import SPM, _strangers
from sepme.pipeline import ErasedPipeline
from tests.tiny import TINY_CONCEPTS

OWL, FIG = TINY_CONCEPTS[:2]
SMALL = {"images": 2, "pool": 4, "learning_rate": 1e-2, "anchors": 2}


def guard_of(seed: int) -> AdapterGuard:
    """One concept, one layer of five inputs and four outputs."""
    draw = torch.Generator().manual_seed(seed)
    concept = torch.randn(1, 6, generator=draw)
    down, up = torch.randn(1, 5, generator=draw), torch.randn(4, 1, generator=draw)
    return AdapterGuard(concept, {"to_q": down}, {"to_q": up})


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs, outputs and embeddings of three prompts."""
    draw = torch.Generator().manual_seed(9)
    shapes = ((3, 7, 5), (3, 7, 4), (3, 2, 3))
    given, output, embeds = (torch.randn(shape, generator=draw) for shape in shapes)
    embeds[0] = guard_of(1).concepts.view(2, 3) + 0.5 * guard_of(2).concepts.view(2, 3)
    return given, output, embeds


def test_two_adapters_act_as_a_sum_of_products(batch) -> None:
    given, output, embeds = batch
    one, two = guard_of(1), guard_of(2)
    both = one.beside(two).output("to_q", given, output, embeds, 0.5)
    expected = output.clone()
    for i in range(len(embeds)):
        gates = [
            max(0, cosine_similarity(embeds[i].flatten(), g.concepts[0], dim=0)) for g in (one, two)
        ]
        change = sum(
            gamma * g.up["to_q"] @ g.down["to_q"]
            for gamma, g in zip(gates, (one, two), strict=True)
        )
        expected[i] += 0.5 * given[i] @ change.T
    torch.testing.assert_close(both, expected, rtol=1e-4, atol=1e-5)
    after_one = one.output("to_q", given, output, embeds, 0.5)  # one after the other is the same
    in_turn = two.output("to_q", given, after_one, embeds, 0.5)
    torch.testing.assert_close(in_turn, expected, rtol=1e-4, atol=1e-5)


def test_a_product_of_sums_is_something_else(batch) -> None:
    given, output, embeds = batch
    one, two = guard_of(1), guard_of(2)
    both = one.beside(two)
    gates = both.gates(embeds)
    assert (gates[0] > 0.1).all()  # else there is nothing to mix
    up = (both.up["to_q"] * gates[0]).sum(1, keepdim=True)
    down = (both.down["to_q"] * gates[0, :, None]).sum(0, keepdim=True)
    mixed = output[0] + given[0] @ (up @ down).T
    found = both.output("to_q", given, output, embeds, 1.0)[0]
    assert not torch.allclose(found, mixed, rtol=0.1, atol=0.1)


def test_a_prompt_unlike_the_concept_is_left_alone(batch) -> None:
    given, output, embeds = batch
    guard = guard_of(1)
    embeds[1] = -guard.concepts.view(2, 3)
    after = guard.output("to_q", given, output, embeds, 1.0)
    assert torch.equal(after[1], output[1])
    assert not torch.allclose(after[0], output[0])  # inverse check: it acts where it is like it


def test_training_draws_the_concept_to_the_anchor(tiny_model: ErasedPipeline) -> None:
    losses: list[float] = []
    method = SPM(**SMALL, max_steps=40, anchoring=0.0)
    shift = method.fit(tiny_model, OWL, on_step=lambda step: losses.append(step.loss))
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])
    draw = torch.Generator().manual_seed(0)
    latents = torch.randn(4, 4, 8, 8, generator=draw)
    given = (latents, torch.tensor([300, 500, 700, 900]))
    rows, blank = (tiny_model.encode([text] * 4) for text in ("owl", ""))
    concept, anchor = (tiny_model.predict_noise(*given, text) for text in (rows, blank))
    target = anchor - (concept - anchor)
    with torch.no_grad():
        after = tiny_model.predict_noise(*given, rows, guards=[(shift.payload, 1.0)])
    assert mse_loss(after, target) < mse_loss(concept, target)


def test_anchoring_holds_what_is_unlike(tiny_model: ErasedPipeline) -> None:
    draw = torch.Generator().manual_seed(3)
    rows = tiny_model.encode(["owl"] * 4)
    strangers = _strangers(rows, draw)
    lengths = strangers.flatten(1).norm(dim=1) / rows.flatten(1).norm(dim=1)
    assert (lengths > 0.79).all()
    assert (lengths < 1.21).all()
    moved = []
    for weight in (0.0, 1000.0):
        guard = SPM(**SMALL, max_steps=40, anchoring=weight).fit(tiny_model, OWL).payload
        deltas = {site: up @ guard.down[site] for site, up in guard.up.items()}  # open gates
        given = (torch.randn(4, 4, 8, 8, generator=draw), torch.full((4,), 500), strangers)
        with torch.no_grad():
            after = tiny_model.predict_noise(*given, deltas=deltas)
            moved.append(float(mse_loss(after, tiny_model.predict_noise(*given))))
    assert moved[1] < 0.5 * moved[0]


def test_concepts_are_trained_one_by_one(tiny_model: ErasedPipeline) -> None:
    method = SPM(**SMALL, max_steps=3)
    (both,) = method.fit_many(tiny_model, [FIG, OWL])
    alone = [method.fit(tiny_model, concept).payload for concept in (OWL, FIG)]
    expected = alone[0].beside(alone[1]).tensors()
    assert all(torch.equal(tensor, expected[n]) for n, tensor in both.payload.tensors().items())


def test_bad_tensors_are_refused() -> None:
    tensors = guard_of(1).tensors()
    with pytest.raises(MethodError, match="'concepts'"):
        AdapterGuard.from_tensors({"up.to_q": tensors["up.to_q"]})
    with pytest.raises(MethodError, match="one only"):
        AdapterGuard.from_tensors({**tensors, "down.to_k": tensors["down.to_q"]})
    with pytest.raises(MethodError, match="one per concept"):
        AdapterGuard.from_tensors({**tensors, "down.to_q": torch.ones(2, 5)})
    with pytest.raises(MethodError, match="no tensor named"):
        AdapterGuard.from_tensors({**tensors, "odd": torch.ones(2, 5)})
