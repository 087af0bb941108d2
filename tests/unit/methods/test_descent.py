import math

import pytest
import torch

from sepme.core.dense_shift import DenseShift
from sepme.core.payload import SiteShift
from sepme.errors import Diverged
from sepme.methods._changes import Factors, Matrices
from sepme.methods._descent import MOST_BALANCE, Learner, balance, descend
from sepme.methods._training import MomentumStop

SITES = {"k": torch.randn(3, 4), "v": torch.randn(5, 4)}
GOALS = {"k": torch.randn(3, 4), "v": torch.randn(5, 4)}


def distance(deltas, scale: float = 1.0) -> torch.Tensor:
    return scale * sum((deltas[site] - goal).square().sum() for site, goal in GOALS.items())


def learner(loss=distance, *, threshold: float = -math.inf, penalty: float = 0.0) -> Learner:
    stop = MomentumStop(0.9, threshold)
    return Learner.of(Matrices.zeros(SITES), loss, stop, rate=0.1, penalty=penalty, sources=[])


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([3.0], [1.0]),
        ([0.0], [1.0]),
        ([-2.0], [1.0]),
        ([2.0, 4.0], [2.0, 1.0]),
        ([-1.0, -4.0], [1.0, 0.25]),
        ([2.0, -4.0], [1.0, 0.5]),
        ([1.0, 1.0], [1.0, 1.0]),
        ([1.0, 1e-9, -1e-9, 0.0], [1.0, *[MOST_BALANCE] * 3]),
        ([1e-9, -1.0], [1.0, 1 / MOST_BALANCE]),
        ([0.0, -1.0], [1.0, 1 / MOST_BALANCE]),
        ([0.0, 0.0], [1.0, 1.0]),
    ],
)
def test_balance(losses: list[float], expected: list[float]) -> None:
    assert balance(losses) == pytest.approx(expected)
    weighed = [eta * abs(loss) for eta, loss in zip(balance(losses), losses, strict=True)]
    unclamped = all(1 / MOST_BALANCE < eta < MOST_BALANCE for eta in balance(losses))
    if unclamped:  # each counts as much as the largest
        assert weighed == pytest.approx([abs(max(losses))] * len(losses))


def test_one_learner_is_plain_adam() -> None:
    mine = learner(penalty=0.3)
    weights = [torch.zeros_like(weight, requires_grad=True) for weight in SITES.values()]
    adam = torch.optim.Adam(weights, lr=0.1)
    steps = list(descend([mine], steps=5))
    for step in steps:
        named = dict(zip(SITES, weights, strict=True))
        loss = distance(named)
        assert step.loss == pytest.approx(loss.item(), rel=1e-5)
        adam.zero_grad()
        (loss + 0.3 * sum(w.abs().sum() for w in weights) / 2).backward()
        adam.step()
    assert [step.number for step in steps] == [1, 2, 3, 4, 5]
    for change, weight in zip(mine.change.deltas().values(), weights, strict=True):
        assert torch.allclose(change, weight, atol=1e-6)
    assert not any(torch.equal(a, b) for a, b in zip(weights, GOALS.values(), strict=True))


def test_learners_share_the_model_but_not_their_gradients() -> None:
    """Two changes add up to what each loss sees; the gradient of one never moves the other."""
    seen = []

    def watch(deltas) -> torch.Tensor:
        seen.append(deltas["k"].detach().clone())
        return distance(deltas)

    still = learner(lambda deltas: 0.0 * deltas["k"].sum() + 0.0 * deltas["v"].sum() + 1e6)
    pulled = learner(watch)
    list(descend([still, pulled], steps=4))
    assert not any(change.any() for change in still.change.deltas().values())
    assert all(change.any() for change in pulled.change.deltas().values())
    assert torch.equal(seen[0], torch.zeros(3, 4))
    one, two = learner(), learner(watch)
    seen.clear()
    list(descend([one, two], steps=2))
    summed = one.change.deltas()["k"] + two.change.deltas()["k"]
    next(descend([one, two], steps=3))
    assert torch.allclose(seen[-1], summed)


def test_a_learner_whose_stop_fired_is_left_as_it_is() -> None:
    early, late = learner(threshold=1e9), learner()
    steps = list(descend([early, late], steps=15))
    assert (early.stop.steps, late.stop.steps, len(steps)) == (11, 15, 15)
    assert not any(step.stopped for step in steps)
    alone = [learner(), learner()]
    list(descend(alone, steps=10))
    assert torch.equal(early.change.deltas()["k"], alone[0].change.deltas()["k"])
    assert not torch.equal(late.change.deltas()["k"], alone[1].change.deltas()["k"])
    both = [learner(threshold=1e9), learner(threshold=1e9)]
    steps = list(descend(both, steps=15))
    assert [step.stopped for step in steps] == [False] * 10 + [True]


def test_steps_tell_the_balanced_loss_and_who_is_furthest_from_its_stop() -> None:
    def weak(deltas) -> torch.Tensor:
        return distance(deltas, 0.5)

    step = next(descend([learner(weak), learner()], steps=1))
    full = distance({site: torch.zeros_like(goal) for site, goal in GOALS.items()}).item()
    assert step.loss == pytest.approx(2 * full)
    assert step.momentum == pytest.approx(full)


def test_the_penalty_is_on_the_sum_of_the_changes() -> None:
    """A change that undoes another's is not punished for its own size."""

    def only_penalty(deltas) -> torch.Tensor:
        return 0.0 * (deltas["k"].sum() + deltas["v"].sum())

    one, two = learner(only_penalty, penalty=1.0), learner(only_penalty)
    with torch.no_grad():
        one.change.parameters["k"].fill_(1.0)
        two.change.parameters["k"].fill_(-3.0)
    list(descend([one, two], steps=1))
    assert torch.allclose(one.change.parameters["k"], torch.tensor(1.1))  # the sum was negative
    assert torch.equal(two.change.parameters["k"], torch.full((3, 4), -3.0))


def test_a_loss_that_is_no_number_ends_it() -> None:
    broken = learner(lambda deltas: deltas["k"].sum() + math.nan)
    with pytest.raises(Diverged, match="step 1"):
        next(descend([learner(), broken], steps=3))


def test_payloads() -> None:
    directions = torch.eye(2, 4).double()
    factors, matrices = Factors.of(SITES, directions, 0.5), Matrices.zeros(SITES)
    with torch.no_grad():
        factors.parameters["k"].fill_(1.0)
        matrices.parameters["k"].fill_(1.0)
    for change, kind in ((factors, SiteShift), (matrices, DenseShift)):
        payload = change.payload()
        assert isinstance(payload, kind)
        assert payload.sites == ("k", "v")
        for site, delta in change.deltas().items():
            assert delta.requires_grad
            assert delta.shape == SITES[site].shape
            assert torch.equal(payload.delta(site, SITES[site]).float(), delta)
        assert payload.delta("k", SITES["k"]).any()
        assert not payload.delta("v", SITES["v"]).any()


def test_a_rule_replaces_the_gradient() -> None:
    """Each weight follows what the rule makes of the loss; the inverse: of the gradient."""
    seen = []

    def only_keys(loss: torch.Tensor, deltas) -> list[torch.Tensor]:
        seen.append(loss.item())
        return [torch.ones_like(deltas["k"]), torch.zeros_like(deltas["v"])]

    ruled, plain = (
        Learner.of(
            Matrices.zeros(SITES), distance, MomentumStop.never(), rate=0.1, sources=[], **rule
        )
        for rule in ({"rule": only_keys}, {})
    )
    losses = [step.loss for step in descend([ruled], steps=3)]
    list(descend([plain], steps=3))
    assert seen == losses
    assert (ruled.change.deltas()["k"] < -0.29).all()
    assert not ruled.change.deltas()["v"].any()
    assert plain.change.deltas()["v"].all()
