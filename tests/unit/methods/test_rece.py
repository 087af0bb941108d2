"""RECE in text space, against a plain loop that edits every weight in turn."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import sepme
from sepme.core.concept import BLANK, Concept
from sepme.core.text_shift import TextShift
from sepme.errors import Interference, SpecError
from sepme.linalg.text_map import adversarial_rows, text_gram
from sepme.methods._rows import Pairs, all_rows, pairs
from sepme.methods.rece import RECE, _Task, _whole
from tests.tiny import TINY_CONCEPTS, TOKENS

TARGET, OTHER, THIRD = TINY_CONCEPTS[:3]
METHOD = RECE(erase_scale=0.8, preserve_scale=0.3, lamb=0.2, regular=0.05).resolve()


def task_of(model: sepme.ErasedPipeline, *concepts: Concept) -> _Task:
    retained, gram = all_rows(model, [BLANK, OTHER]), text_gram(model.sites().values())
    return _Task(pairs(model, concepts, "to-end"), _whole(model, concepts), retained, gram)


def step(weight: Tensor, moved: Pairs, retained: Tensor, *, lamb: float) -> Tensor:
    """A step of UCE on the current weight of one site, term by term."""
    left, right = lamb * weight, lamb * torch.eye(weight.shape[1], dtype=torch.float64)
    for c, goal in zip(*moved, strict=True):
        left = left + METHOD.erase_scale * torch.outer(weight @ goal, c)
        right = right + METHOD.erase_scale * torch.outer(c, c)
    for r in retained:
        left = left + METHOD.preserve_scale * torch.outer(weight @ r, r)
        right = right + METHOD.preserve_scale * torch.outer(r, r)
    return left @ torch.linalg.inv(right)


def by_site(model: sepme.ErasedPipeline, task: _Task, rounds: int) -> dict[str, Tensor]:
    """Every weight after the rounds, each edited on its own; the adversaries come from all."""
    first = {site: weight.double() for site, weight in model.sites().items()}
    now = {s: step(w, task.moved, task.retained, lamb=METHOD.start_lamb) for s, w in first.items()}
    for _ in range(rounds):
        eye = torch.eye(task.retained.shape[1], dtype=torch.float64)
        inner = METHOD.regular * eye + sum(w.T @ w for w in now.values())
        outer = sum(now[site].T @ first[site] for site in first)
        evading = task.sought.targets @ (torch.linalg.inv(inner) @ outer).T
        moved = Pairs(evading, task.sought.anchors)
        now = {s: step(w, moved, task.retained, lamb=METHOD.lamb) for s, w in now.items()}
    return now


@pytest.mark.parametrize("rounds", [0, 1, 3])
@pytest.mark.parametrize("concepts", [(TARGET,), (TARGET, THIRD)], ids=["one", "two"])
def test_agrees_with_a_loop_over_the_sites(
    tiny_model: sepme.ErasedPipeline, rounds: int, concepts: tuple[Concept, ...]
) -> None:
    task = task_of(tiny_model, *concepts)
    method = replace(METHOD, rounds=rounds)
    found = method._rounds(task, method._map(task.moved, task.retained, method.start_lamb))
    change, fewer = found.dense(), by_site(tiny_model, task, max(0, rounds - 1))
    for site, expected in by_site(tiny_model, task, rounds).items():
        weight = tiny_model.sites()[site].double()
        edited = weight + weight @ change
        assert (edited - expected).abs().max() < 1e-10
        if rounds:  # inverse check: a round less is another weight
            assert (edited - fewer[site]).abs().max() > 1e-4


def test_adversaries_are_the_least_squares_solution(tiny_model: sepme.ErasedPipeline) -> None:
    task = task_of(tiny_model, TARGET)
    found = METHOD._map(task.moved, task.retained, 0.5)
    edit = torch.eye(task.gram.shape[0], dtype=torch.float64) + found.dense()
    weights = [weight.double() for weight in tiny_model.sites().values()]

    def slope(rows: Tensor) -> float:
        rows = rows.clone().requires_grad_()
        missed = sum(((rows @ edit.T - task.sought.targets) @ w.T).square().sum() for w in weights)
        loss = missed + 0.05 * rows.square().sum()
        return float(torch.autograd.grad(loss, rows)[0].abs().max())

    assert slope(adversarial_rows(task.sought.targets, task.gram, found, lamb=0.05)) < 1e-10
    assert slope(task.sought.targets) > 1e-2  # inverse check


def test_rounds_leave_less_to_evade_with(tiny_model: sepme.ErasedPipeline) -> None:
    """What RECE is about: no embedding of moderate size brings the concept's values back."""
    fits = [
        RECE(rounds=n, regular=1e-3).fit(tiny_model, TARGET, retain=[OTHER]).provenance.fit
        for n in (0, 1, 3)
    ]
    assert fits[0]["distance"] == pytest.approx(fits[0]["distance_start"], rel=1e-4)
    assert fits[0]["distance"] < fits[1]["distance"] < fits[2]["distance"]
    assert fits[2]["distance"] > 1.5 * fits[0]["distance"]
    tame = RECE(rounds=3, regular=1e6).fit(tiny_model, TARGET, retain=[OTHER])
    own = tame.provenance.fit  # inverse check: rounds that seek no adversary change nothing
    assert own["distance"] == pytest.approx(own["distance_start"], rel=1e-3)


def test_starts_from_the_map_of_uce(tiny_model: sepme.ErasedPipeline) -> None:
    from sepme.methods.uce import UCE

    start = RECE(rounds=0).fit(tiny_model, TARGET, retain=[OTHER])
    uce = UCE(preserve_scale=0.1).fit(tiny_model, TARGET, retain=[OTHER])
    maps = [shift.payload.left.double() @ shift.payload.right.double() for shift in (start, uce)]
    assert torch.allclose(*maps, atol=1e-6)
    further = RECE(rounds=1).fit(tiny_model, TARGET, retain=[OTHER]).payload
    assert not torch.allclose(further.left.double() @ further.right.double(), maps[0], atol=1e-3)


def test_one_map_of_low_rank(tiny_model: sepme.ErasedPipeline) -> None:
    shift = RECE(rounds=1).fit(tiny_model, TARGET)
    assert isinstance(shift.payload, TextShift)
    fit = shift.provenance.fit
    assert fit["rank"] <= fit["rows"] + TOKENS < 64
    assert shift.payload.sites == tuple(sorted(tiny_model.sites()))


@pytest.mark.parametrize(
    ("key", "bad"), [("regular", 0), ("rounds", -1), ("rounds", 1.5), ("start_lamb", 0)]
)
def test_values_out_of_range(key: str, bad: object) -> None:
    with pytest.raises(SpecError, match=f"^{key} must be .*got"):
        RECE(**{key: bad})


def test_several_concepts_are_one_shift_that_goes_together(
    tiny_model: sepme.ErasedPipeline,
) -> None:
    (shift,) = RECE().fit_many(tiny_model, [OTHER, TARGET])
    assert RECE().fit_many(tiny_model, [TARGET, OTHER]) == (shift,)
    tiny_model.erase(shift)
    with pytest.raises(Interference, match="Fit the concepts together"):
        tiny_model.erase(RECE().fit(tiny_model, THIRD))
    tiny_model.restore(TARGET.name, OTHER.name)
    live = tiny_model.backend.live()
    assert all(torch.equal(live[site], weight) for site, weight in tiny_model.sites().items())
