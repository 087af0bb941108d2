from dataclasses import replace

import pytest
import torch

from sepme.core.concept import Concept
from sepme.errors import Diverged, MethodError, NotSeparable, SpecError
from sepme.methods._context import context_of
from sepme.methods.mace import MACE, attention_inside
from tests.tiny import TINY_CONCEPTS

TARGET, OTHER = (
    Concept(n, (p,), anchor="fig", kind="object") for n, p in {"a": "owl", "b": "jar"}.items()
)
THIRD = TINY_CONCEPTS[3]
SMALL = {
    "images": 2,
    "pool": 4,
    "max_steps": 40,
    "learning_rate": 1e-2,
    "lamb": 1e-3,
    "preserve_scale": 0.0,
}


def looked_at(model, shift, prompt: str, columns: slice) -> float:
    """Norm of the attention that some tokens of a prompt get, everywhere."""
    chosen = torch.zeros(2, 8)
    chosen[:, columns] = 1
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    changes = shift and {site: shift.payload.changes[site] for site in shift.payload.sites}
    embeds = model.encode([prompt]).expand(2, -1, -1)
    with torch.no_grad():
        maps = model.attend(latents, torch.tensor([200, 400]), embeds, deltas=changes)
    return float(attention_inside(maps, chosen, torch.ones(2, 8, 8)))


def test_the_papers_values() -> None:
    paper = MACE().resolve()
    assert (paper.rank, paper.max_steps, paper.learning_rate, paper.images) == (1, 50, 1e-4, 8)
    with pytest.raises(SpecError, match=r"^threshold must be"):
        MACE(threshold=2.0)


def test_rows_around_a_concept_go_to_those_around_its_anchor(tiny_model) -> None:
    context = context_of(tiny_model, TARGET)
    assert context.prompts[:2] == ("owl", "the owl")
    assert context.columns[0].tolist() == [0, 1, 1, 1, 0, 0, 0, 0]
    assert context.columns[1].tolist() == [0, 0, 0, 0, 1, 1, 1, 0]
    owl, fig = tiny_model.encode(["owl", "fig"])
    assert torch.equal(context.around[:5], torch.cat([owl[:1], owl[4:]]))
    assert torch.equal(context.goals[:5], torch.cat([owl[:1], fig[4:]]))


def test_a_blank_anchor_leaves_the_scene(tiny_model) -> None:
    context = context_of(tiny_model, replace(TARGET, anchor=""))
    blank = tiny_model.encode([""])[0]
    assert torch.equal(context.goals[1:5], blank[1:5])


def test_the_norm_is_that_inside_the_mask() -> None:
    maps = {"fine": torch.rand(1, 2, 64, 5), "coarse": torch.rand(1, 2, 16, 5)}
    columns, mask = torch.zeros(1, 5), torch.zeros(1, 8, 8)
    columns[0, 2] = mask[0, :2, :2] = 1
    fine = maps["fine"].view(2, 8, 8, 5)[:, :2, :2, 2].norm()
    coarse = maps["coarse"].view(2, 4, 4, 5)[:, 0, 0, 2].norm()
    assert torch.allclose(attention_inside(maps, columns, mask), fine + coarse)


def test_the_concepts_words_are_no_longer_looked_at(tiny_model) -> None:
    shift = MACE(**SMALL).fit(tiny_model, TARGET)
    own = slice(1, 4)
    before, after = (looked_at(tiny_model, s, "owl", own) for s in (None, shift))
    assert after < 0.8 * before
    idle = MACE(**SMALL | {"learning_rate": 1e-9}).fit(tiny_model, TARGET)
    assert looked_at(tiny_model, idle, "owl", own) > 0.9 * before  # inverse: not trained
    elsewhere = (looked_at(tiny_model, s, "sky", own) for s in (None, shift))
    first, second = elsewhere
    assert abs(second - first) < abs(after - before)


def test_rows_before_the_concept_are_kept_and_those_after_it_moved(tiny_model) -> None:
    shift = MACE(**SMALL | {"learning_rate": 1e-9}).fit(tiny_model, TARGET)
    context = context_of(tiny_model, TARGET)
    for site, weight in tiny_model.sites().items():
        change = shift.payload.changes[site]
        wanted = weight @ (context.goals - context.around).T
        missed = change @ context.around.T - wanted
        assert missed.norm() < 0.5 * wanted.norm()
        assert change.norm() > 0


def test_retained_rows_hold_on(tiny_model) -> None:
    rows = tiny_model.encode(THIRD.prompts)[0]

    def moved(scale: float) -> float:
        method = MACE(**SMALL | {"preserve_scale": scale, "max_steps": 5})
        shift = method.fit(tiny_model, TARGET, retain=[THIRD])
        return sum(float((change @ rows.T).norm()) for change in shift.payload.changes.values())

    assert moved(100.0) < 0.5 * moved(0.0)


def test_several_are_fused_in_any_order(tiny_model) -> None:
    method = MACE(**SMALL | {"max_steps": 3})
    (one,), (two,) = (
        method.fit_many(tiny_model, pair) for pair in ([TARGET, OTHER], [OTHER, TARGET])
    )
    assert one == two
    assert one.concepts == (TARGET, OTHER)
    assert one.decoupled_from == ()
    assert one.provenance.fit["steps"] == 6
    tiny_model.erase(one)
    with pytest.raises(NotSeparable, match="erased jointly"):
        tiny_model.restore("a")


def test_what_cannot_be_done_is_said(tiny_model) -> None:
    with pytest.raises(Diverged, match="Try a tenth"):
        MACE(**SMALL | {"learning_rate": 1e38}).fit(tiny_model, TARGET)
    with pytest.raises(MethodError, match="twice"):
        MACE(**SMALL).fit_many(tiny_model, [TARGET, TARGET])
