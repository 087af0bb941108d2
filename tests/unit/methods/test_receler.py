"""What Receler promises: erasers that stay where the concept is, and withstand other prompts."""

import pytest
import torch

from sepme.core.bottleneck_guard import BottleneckGuard
from sepme.errors import NotSeparable, SpecError
from sepme.methods.receler import Receler, _Watched, spill
from tests.tiny import TINY_CONCEPTS

OWL, FIG = TINY_CONCEPTS[:2]
SMALL = {"images": 2, "pool": 4, "rank": 8, "max_steps": 3, "adversarial_steps": 1}


@pytest.fixture
def loud_model(tiny_model, monkeypatch):
    """Random weights hardly listen to the prompt, so the prompt is made to speak up."""
    encode = type(tiny_model).encode
    monkeypatch.setattr(type(tiny_model), "encode", lambda *args: 20 * encode(*args))
    return tiny_model


def test_the_papers_values() -> None:
    paper = Receler().resolve()
    assert (paper.guidance, paper.rank, paper.locality, paper.threshold) == (1.0, 128, 0.1, 0.1)
    assert (paper.adversarial_tokens, paper.adversarial_steps) == (16, 50)
    assert (paper.adversarial_rate, paper.adversarial_decay) == (0.1, 0.1)
    assert (paper.learning_rate, paper.max_steps, paper.batch_size) == (3e-4, 500, 1)
    assert paper.predictions == 51
    for key, bad in {"rank": 0, "threshold": 1.5, "adversarial_steps": -1}.items():
        with pytest.raises(SpecError, match=f"^{key} must be"):
            Receler(**{key: bad})


def test_erasers_stay_where_the_concept_is(loud_model) -> None:
    """Outside, they add a small share of what they add inside; inverse: unregularized, not so."""
    options = {"images": 2, "pool": 2, "batch_size": 2, "rank": 16, "threshold": 0.5}
    options |= {"max_steps": 80, "learning_rate": 3e-3, "adversarial_steps": 0}
    outside, inside, left = {}, {}, {}
    for weight in (0.0, 0.01):
        method = Receler(**options, locality=weight).resolve()
        guard = method.fit(loud_model, OWL).payload
        lesson = next(method._lessons(loud_model, OWL, 0))
        watched = _Watched.from_tensors(guard.tensors())
        with torch.no_grad():
            noise = lesson.predicted(loud_model, lesson.embeds, watched)
        left[weight] = float((noise - lesson.goal).square().mean())
        outside[weight] = float(spill(watched.seen, lesson.mask))
        inside[weight] = float(spill(watched.seen, 1 - lesson.mask))
    before = float((lesson.concept - lesson.goal).square().mean())
    assert max(left.values()) < 0.8 * before  # both have learned
    assert outside[0.01] < 0.1 * outside[0.0]
    assert outside[0.01] < 0.05 * inside[0.01]
    assert outside[0.0] > 0.2 * inside[0.0]


def test_what_is_added_inside_costs_nothing() -> None:
    mask = torch.zeros(1, 4, 4)
    mask[0, 0, 0] = 1
    added = torch.zeros(1, 16, 3)
    added[0, 0] = 5.0
    assert spill({"fine": added}, mask) == 0
    added[0, 1] = 2.0  # inverse check, by hand: 15 pixels are outside
    assert float(spill({"fine": added}, mask)) == pytest.approx(12 / 15)
    coarse = torch.ones(1, 4, 3)
    assert float(spill({"fine": added, "coarse": coarse}, mask)) == pytest.approx((12 / 15 + 3) / 2)
    assert spill({"fine": added}, torch.ones(1, 4, 4)) == 0


def test_adversarial_prompts_bring_back_less_from_a_robust_fit(loud_model) -> None:
    """Distance to the original's noise for the concept; a fresh attack on fresh images.

    The inverse check is the fit without an adversary: there, the attack beats the plain prompt.
    """
    options = {"images": 4, "pool": 16, "rank": 8, "batch_size": 4, "learning_rate": 1e-2}
    attack = Receler(**options | {"batch_size": 16}, adversarial_steps=20).resolve()
    lesson = next(attack._lessons(loud_model, OWL, 7))
    plain, attacked = {}, {}
    for steps in (0, 3):
        fitted = Receler(**options, max_steps=40, adversarial_steps=steps).fit(loud_model, OWL)
        guard, draw = fitted.payload, torch.Generator().manual_seed(7)
        found = attack._attack(loud_model, lesson, guard.tensors(), draw)
        with torch.no_grad():
            plain[steps], attacked[steps] = (
                float((lesson.predicted(loud_model, text, guard) - lesson.concept).square().mean())
                for text in (lesson.embeds, found)
            )
    assert attacked[0] < 0.95 * plain[0]
    assert attacked[0] < 0.8 * attacked[3]
    assert attacked[0] / plain[0] < 0.9 * attacked[3] / plain[3]


def test_the_adversary_writes_after_the_concepts_tokens_only(tiny_model) -> None:
    method = Receler(**SMALL | {"adversarial_steps": 3}, adversarial_tokens=2).resolve()
    lesson = next(method._lessons(tiny_model, OWL, 0))
    assert lesson.free.tolist() == [[0, 0, 0, 0, 1, 1, 0, 0]]  # start, o, w, l
    tensors = method.fit(tiny_model, OWL).payload.tensors()
    found = method._attack(tiny_model, lesson, tensors, torch.Generator().manual_seed(0))
    same = (found == lesson.embeds).all(dim=-1)
    assert same.tolist() == [[True] * 4 + [False] * 2 + [True] * 2]
    still = Receler(**SMALL | {"adversarial_steps": 0}).resolve()
    assert still._attack(tiny_model, lesson, tensors, torch.Generator()) is lesson.embeds


def test_the_goal_is_away_from_the_concept(tiny_model) -> None:
    lesson = next(Receler(**SMALL, guidance=2.0).resolve()._lessons(tiny_model, OWL, 0))
    at = (lesson.latents, lesson.timesteps)
    with torch.no_grad():
        there, blank = (tiny_model.predict_noise(*at, tiny_model.encode([t])) for t in ("owl", ""))
    assert torch.allclose(lesson.concept, there, atol=1e-5)
    assert torch.allclose(lesson.goal, blank - 2 * (there - blank), atol=1e-5)
    assert not torch.allclose(lesson.goal, blank, atol=1e-5)


def test_erasers_begin_by_changing_nothing(tiny_model) -> None:
    method = Receler(**SMALL | {"rank": 1000}).resolve()
    sites = tiny_model.sites(method.target_modules)
    guard = method._change(sites, 0).payload()
    assert guard.modules == tuple(sorted(sites))
    assert all(rows.shape == (len(sites[m]),) * 2 for m, rows in guard.down.items())
    assert not any(columns.any() for columns in guard.up.values())
    learned = method.fit(tiny_model, OWL).payload
    assert all(columns.any() for columns in learned.up.values())


def test_several_share_one_guard(tiny_model) -> None:
    method = Receler(**SMALL | {"max_steps": 8})
    (both,) = method.fit_many(tiny_model, [FIG, OWL])
    assert both.concepts == (OWL, FIG)
    assert isinstance(both.payload, BottleneckGuard)
    alone = method.fit(tiny_model, OWL).payload
    assert not all(torch.equal(t, alone.tensors()[n]) for n, t in both.payload.tensors().items())
    tiny_model.erase(both)
    with pytest.raises(NotSeparable, match="erased jointly"):
        tiny_model.restore("a")
