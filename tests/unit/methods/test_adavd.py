"""What AdaVD promises: the concept's part of a value goes, everything else stays."""

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from sepme.core.concept import Concept
from sepme.core.value_guard import ValueGuard
from sepme.errors import Diverged, MethodError
from sepme.methods._spans import last_token
from sepme.methods.adavd import AdaVD
from sepme.pipeline import ErasedPipeline
from tests.tiny import TINY_CONCEPTS

OWL, FIG = TINY_CONCEPTS[:2]
HALF = torch.tensor([[100.0, 0.93, 1.0]])
ALWAYS = torch.tensor([[100.0, -2.0, 1.0]])


def values_of(model: ErasedPipeline, site: str, prompt: str) -> torch.Tensor:
    return model.encode([prompt]) @ model.sites()[site].T


def guarded(guard: ValueGuard, site: str, values: torch.Tensor, strength: float = 1.0):
    return guard.output(site, values, values, values, strength)


def test_targets_are_the_values_of_the_last_token(tiny_model: ErasedPipeline) -> None:
    concept = Concept("two", ("owl", "a fig"))
    guard = AdaVD().fit(tiny_model, concept).payload
    assert set(guard.modules) == set(tiny_model.sites(r".*\.attn2\.to_v"))
    for site in guard.modules:
        for i, prompt in enumerate(concept.prompts):
            at = last_token(tiny_model, prompt)
            expected = values_of(tiny_model, site, prompt)[0, at]
            torch.testing.assert_close(guard.targets[site][i], expected, rtol=1e-5, atol=1e-6)


def test_the_concepts_part_of_its_value_goes(tiny_model: ErasedPipeline) -> None:
    guard = AdaVD(ceiling=1.0, threshold=0.9).fit(tiny_model, OWL).payload
    at = last_token(tiny_model, "owl")
    for site in guard.modules:
        values = values_of(tiny_model, site, "owl")
        after = guarded(guard, site, values)
        target = normalize(guard.targets[site][0], dim=0)
        before_part, after_part = values[0, at] @ target, after[0, at] @ target
        assert after_part.abs() < 1e-3 * before_part.abs()
        assert torch.equal(after[:, 0], values[:, 0])  # the start token is left alone


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_is_the_formula(strength: float) -> None:
    draw = torch.Generator().manual_seed(0)
    target, values = torch.randn(16, generator=draw), torch.randn(1, 30, 16, generator=draw)
    values[:, 10:] = values[:, 10:] * 0.2 + target
    gate = torch.tensor([[20.0, 0.9, 2.0]])
    found = guarded(ValueGuard(gate, {"v": target[None]}), "v", values, strength)
    for before, after in zip(values[0, 1:], found[0, 1:], strict=True):
        cosine = cosine_similarity(before, target, dim=0)
        delta = 2 / (1 + torch.exp(-20 * (cosine - 0.9)))
        part = (before @ target) / (target @ target) * target
        torch.testing.assert_close(after, before - strength * delta * part, rtol=1e-4, atol=1e-5)


def test_values_unlike_the_concept_stay() -> None:
    draw = torch.Generator().manual_seed(0)
    values, target = torch.randn(4, 9, 64, generator=draw), torch.randn(1, 64, generator=draw)
    after = guarded(ValueGuard(HALF, {"v": target}), "v", values)
    torch.testing.assert_close(after, values, rtol=0, atol=1e-6)
    shifted = guarded(ValueGuard(ALWAYS, {"v": target}), "v", values)  # inverse check: no gate
    assert not torch.allclose(shifted, values, atol=0.1)


def test_several_concepts_span_a_space_that_goes() -> None:
    draw = torch.Generator().manual_seed(0)
    targets = torch.randn(3, 16, generator=draw)
    targets[2] = targets[0] + targets[1]  # dependent: the span has two dimensions
    values = torch.randn(1, 9, 16, generator=draw)
    after = guarded(ValueGuard(ALWAYS, {"v": targets}), "v", values)[:, 1:]
    assert (normalize(after, dim=-1) @ normalize(targets, dim=1).T).abs().max() < 1e-4
    one_by_one = values[:, 1:]  # inverse check: subtracting each projection alone leaves some
    parts = [one_by_one @ t[:, None] / (t @ t) * t for t in targets]
    left = one_by_one - sum(parts)
    assert (normalize(left, dim=-1) @ normalize(targets, dim=1).T).abs().max() > 1e-2


def test_one_guard_for_all_concepts_whatever_their_order(tiny_model: ErasedPipeline) -> None:
    (one,) = AdaVD().fit_many(tiny_model, [OWL, FIG])
    (two,) = AdaVD().fit_many(tiny_model, [FIG, OWL])
    assert one == two
    assert one.provenance.fit["targets"] == 2


def test_half_precision_stays_so() -> None:
    guard = ValueGuard(ALWAYS, {"v": torch.eye(1, 4)})
    values = torch.ones(1, 3, 4, dtype=torch.float16)
    assert guarded(guard, "v", values).dtype == torch.float16


def test_bad_tensors_are_refused() -> None:
    eye = torch.eye(1, 4)
    with pytest.raises(MethodError, match="3 numbers"):
        ValueGuard(eye, {"v": eye})
    with pytest.raises(MethodError, match="zero"):
        ValueGuard(HALF, {"v": torch.zeros(1, 4)})
    with pytest.raises(Diverged):
        ValueGuard(HALF, {"v": eye * torch.inf})
    with pytest.raises(MethodError, match="'gate'"):
        ValueGuard.from_tensors({"targets.v": eye})
