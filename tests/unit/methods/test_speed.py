"""SPEED: filter, augmentation and invariants, each with what happens without it."""

import pytest
import torch

import sepme
from sepme.core.concept import BLANK
from sepme.core.factor_shift import FactorShift
from sepme.errors import NullSpaceExhausted, SpecError
from sepme.linalg.null_edit import null_edit, quiet_directions
from sepme.methods._rows import chosen_rows, pairs
from sepme.methods.speed import SPEED, _damage, _invariants, _Task
from tests.tiny import TINY_CONCEPTS

TARGET, OTHER, THIRD = TINY_CONCEPTS[:3]
CROWD = TINY_CONCEPTS[1:]


def task_of(model: sepme.ErasedPipeline) -> _Task:
    moved = pairs(model, [TARGET], "last")
    return _Task(moved, chosen_rows(model, [BLANK, *CROWD], "last"), _invariants(model, 3, 0))


def weight_of(model: sepme.ErasedPipeline) -> torch.Tensor:
    return next(w for site, w in model.sites().items() if site.endswith("to_v")).double()


def test_invariants_do_not_move_at_all(tiny_model: sepme.ErasedPipeline) -> None:
    """The start row, which all prompts share, and centres of the blank prompt's other rows."""
    fixed = _invariants(tiny_model, 3, seed=0)
    assert torch.equal(fixed[0], tiny_model.encode(["abc"])[0, 0].double())
    assert len(fixed) == 4

    def moved(slack: float) -> float:
        shift = SPEED(lamb=slack).fit(tiny_model, TARGET, retain=CROWD)
        assert shift.provenance.fit["leak"] < 1e-10 or slack
        deltas = [shift.payload.delta(site, torch.empty(0)) for site in shift.payload.sites]
        return max(float((fixed @ d.T).norm() / (fixed.norm() * d.norm())) for d in deltas)

    assert moved(0.0) < 1e-6  # the factors are stored in float32
    assert moved(10.0) > 1e-3  # inverse check


def test_damage_is_that_of_the_unconstrained_edit(tiny_model: sepme.ErasedPipeline) -> None:
    task, weight = task_of(tiny_model), weight_of(tiny_model)
    c, goal = task.moved.targets, task.moved.anchors
    second, crossed = c.T @ c / len(c), goal.T @ c / len(c)
    eye = torch.eye(len(second), dtype=torch.float64)
    edit = weight @ (crossed - second) @ torch.linalg.inv(eye + second)
    expected = (task.retained @ edit.T).norm(dim=1)
    assert torch.allclose(_damage(task.retained, task.moved, weight), expected, atol=1e-10)
    assert not torch.allclose(_damage(task.retained, task.moved, 2 * weight), expected, atol=1e-4)


def test_the_filter_keeps_what_the_edit_would_hurt(tiny_model: sepme.ErasedPipeline) -> None:
    task, weight = task_of(tiny_model), weight_of(tiny_model)
    draw = torch.Generator().manual_seed(0)
    damage = _damage(task.retained, task.moved, weight)
    kept = SPEED(samples=0).resolve()._spared(task, weight, draw)
    assert torch.equal(kept, task.retained[damage > damage.mean()])
    assert 0 < len(kept) < len(task.retained)
    every = SPEED(samples=0, filter="none").resolve()._spared(task, weight, draw)
    assert torch.equal(every, task.retained)  # inverse check


def test_augmentation_goes_where_the_weight_is_weakest(tiny_model: sepme.ErasedPipeline) -> None:
    task, weight = task_of(tiny_model), weight_of(tiny_model)
    draw = torch.Generator().manual_seed(0)
    plain = SPEED(samples=0).resolve()._spared(task, weight, draw)
    more = SPEED(samples=10).resolve()._spared(task, weight, draw)
    added = more[len(plain) :]
    assert 0 < len(added) <= 10 * len(plain)
    bound = _damage(task.retained, task.moved, weight).mean()
    assert (_damage(added, task.moved, weight) > bound).all()
    nearest = torch.cdist(added @ weight.T, plain @ weight.T).min(1).values
    smallest = torch.linalg.svdvals(weight)[-1] if len(weight) >= weight.shape[1] else 0.0
    assert nearest.max() <= 5 * smallest + 1e-8  # the values hardly notice
    assert torch.cdist(added, plain).min(1).values.median() > 0.1  # inverse: the rows do differ


def test_each_site_gets_the_closed_form(tiny_model: sepme.ErasedPipeline) -> None:
    shift = SPEED().fit(tiny_model, TARGET, retain=CROWD, seed=3)
    assert isinstance(shift.payload, FactorShift)
    assert len(shift.payload.sites) == 4
    assert all(site.endswith("to_v") for site in shift.payload.sites)
    others = [*tiny_model.known, *CROWD]
    task = _Task(
        pairs(tiny_model, [TARGET], "last"),
        chosen_rows(tiny_model, others, "last"),
        _invariants(tiny_model, 3, 3),
    )
    draw, bases = torch.Generator().manual_seed(3), []
    for site in shift.payload.sites:
        weight = tiny_model.sites()[site].double()
        spared = SPEED().resolve()._spared(task, weight, draw)
        bases.append(quiet_directions(spared, threshold=0.1))
        found = null_edit(*task.moved, bases[-1], task.fixed, ridge=1.0, slack=0.0)
        delta = shift.payload.delta(site, weight)
        assert torch.allclose(delta, weight @ found.dense(), atol=1e-6)
        assert delta.norm() > 1e-2
        assert shift.payload.left[site].shape[1] == 1
    assert not torch.allclose(bases[0].T @ bases[0], bases[1].T @ bases[1], atol=1e-3)


def test_retained_prompts_are_spared_by_the_null_space(tiny_model: sepme.ErasedPipeline) -> None:
    fits = [
        SPEED(threshold=t, filter="none").fit(tiny_model, TARGET, retain=CROWD).provenance.fit
        for t in (1e-3, 1e6)
    ]
    assert fits[1]["free"] == 64 > fits[0]["free"]
    assert fits[0]["moved"] < fits[1]["moved"] / 5  # inverse check: with every direction free
    assert fits[0]["residual"] < 1


def test_no_direction_left(tiny_model: sepme.ErasedPipeline) -> None:
    full = task_of(tiny_model)._replace(retained=10 * torch.eye(64, dtype=torch.float64))
    with pytest.raises(NullSpaceExhausted, match="Raise threshold"):
        SPEED(filter="none").resolve()._edit(full, weight_of(tiny_model), torch.Generator())
    full = full._replace(retained=full.retained[:-1])  # inverse check: one is left
    SPEED(filter="none", samples=0).resolve()._edit(full, weight_of(tiny_model), torch.Generator())


@pytest.mark.parametrize(
    ("key", "bad"),
    [("ridge", 0), ("threshold", 0), ("lamb", -1), ("samples", 0.5), ("centres", 0),
     ("filter", "all"), ("rows", "first")],
)  # fmt: skip
def test_values_out_of_range(key: str, bad: object) -> None:
    with pytest.raises(SpecError, match=f"^{key} must be .*got"):
        SPEED(**{key: bad})


def test_seeds_and_joint_solving(tiny_model: sepme.ErasedPipeline) -> None:
    one, other = (SPEED().fit(tiny_model, TARGET, retain=CROWD, seed=s) for s in (0, 1))
    assert one != other
    (joint,) = SPEED().fit_many(tiny_model, [OTHER, TARGET], retain=[THIRD])
    assert SPEED().fit_many(tiny_model, [TARGET, OTHER], retain=[THIRD]) == (joint,)
    tiny_model.erase(joint)
    tiny_model.restore(TARGET.name, OTHER.name)
    live = tiny_model.backend.live()
    assert all(torch.equal(live[site], weight) for site, weight in tiny_model.sites().items())
