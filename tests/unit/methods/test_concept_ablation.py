from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import mse_loss

from sepme.core.concept import Concept
from sepme.core.dense_shift import DenseShift
from sepme.errors import Diverged, NotSeparable, SpecError
from sepme.methods._templates import wordings
from sepme.methods.concept_ablation import ConceptAblation
from tests.tiny import TINY_CONCEPTS

TARGET = Concept("a", ("owl",), anchor="fig")
OTHER = TINY_CONCEPTS[2]
SMALL = {"images": 4, "pool": 4, "batch_size": 2, "max_steps": 40, "learning_rate": 3e-3}


def distances(model, shift, concept: Concept) -> tuple[float, float]:
    """How far the concept's answer is from the anchor's on anchor images: before, after."""
    said = wordings(concept)[0]
    asked, answered = (model.encode([prompt]) for prompt in (said.target, said.anchor))
    x = model.add_noise(
        model.draw_latents([said.anchor], seeds=[7]),
        torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7)),
        when := torch.tensor([400]),
    )
    changes = {site: shift.payload.changes[site] for site in shift.payload.sites}
    with torch.no_grad():
        goal = model.predict_noise(x, when, answered)
        answers = (model.predict_noise(x, when, asked, deltas=d) for d in (None, changes))
        before, after = (float(mse_loss(answer, goal)) for answer in answers)
    return before, after


def test_the_papers_values() -> None:
    paper = ConceptAblation().resolve()
    assert (paper.learning_rate, paper.max_steps, paper.batch_size) == (1.6e-5, 100, 8)
    with pytest.raises(SpecError, match=r"^learning_rate must be"):
        ConceptAblation(learning_rate=0)


def test_the_concept_is_answered_as_its_anchor(tiny_model) -> None:
    method = ConceptAblation(**SMALL)
    before, after = distances(tiny_model, method.fit(tiny_model, TARGET), TARGET)
    assert after < 0.5 * before
    idle = replace(method, learning_rate=1e-9).fit(tiny_model, TARGET)  # inverse: not trained
    assert distances(tiny_model, idle, TARGET)[1] > 0.9 * before


def test_another_anchor_is_another_goal(tiny_model) -> None:
    method, other = ConceptAblation(**SMALL), replace(TARGET, anchor="jar")
    shift = method.fit(tiny_model, TARGET)
    assert shift != method.fit(tiny_model, other)
    to_other, to_own = (distances(tiny_model, shift, c)[1] for c in (other, TARGET))
    assert to_other > to_own


def test_only_anchor_images_are_drawn(tiny_model, monkeypatch) -> None:
    drawn: list[str] = []
    draw = type(tiny_model).draw_latents

    def seen(self, prompts, *, seeds):
        drawn.extend(prompts)
        return draw(self, prompts, seeds=seeds)

    monkeypatch.setattr(type(tiny_model), "draw_latents", seen)
    ConceptAblation(**SMALL | {"max_steps": 1}).fit(tiny_model, TARGET)
    assert len(drawn) == 4
    assert all("fig" in prompt and "owl" not in prompt for prompt in drawn)


def test_a_first_loss_is_the_distance_of_the_pristine_answers(tiny_model) -> None:
    """With the anchor's words as the concept's own there is nothing to learn."""
    first = []
    method = ConceptAblation(**SMALL | {"max_steps": 1})
    for anchor in ("fig", "owl"):
        method.fit(tiny_model, replace(TARGET, anchor=anchor), on_step=first.append)
    assert first[0].loss > 1e-6
    assert first[1].loss == pytest.approx(0, abs=1e-9)


def test_several_take_turns_and_share_one_shift(tiny_model, monkeypatch) -> None:
    asked = Counter()
    predict = type(tiny_model).predict_noise
    rows = {c.name: tiny_model.encode(c.prompts)[0] for c in (TARGET, OTHER)}

    def counted(self, latents, timesteps, prompt_embeds, *, deltas=None):
        if deltas is not None:
            asked.update(n for n, row in rows.items() if torch.equal(row, prompt_embeds[0]))
        return predict(self, latents, timesteps, prompt_embeds, deltas=deltas)

    monkeypatch.setattr(type(tiny_model), "predict_noise", counted)
    method = ConceptAblation(**SMALL | {"max_steps": 6, "images": 1})
    (shift,) = method.fit_many(tiny_model, [OTHER, TARGET])
    assert asked == {"a": 6, "c": 6}, "each has all its steps"
    assert shift.concepts == (TARGET, OTHER)
    assert isinstance(shift.payload, DenseShift)
    assert shift.decoupled_from == ()
    tiny_model.erase(shift)
    with pytest.raises(NotSeparable, match="erased jointly"):
        tiny_model.restore("a")


def test_divergence_says_what_to_try(tiny_model) -> None:
    with pytest.raises(Diverged, match="Try a tenth"):
        ConceptAblation(**SMALL | {"learning_rate": 1e38}).fit(tiny_model, TARGET)
