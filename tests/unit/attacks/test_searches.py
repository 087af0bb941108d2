"""Each search lowers its own loss on the tiny model, and one that goes uphill does not."""

import statistics
from collections.abc import Callable

import pytest
import torch

from sepme.attacks._tokens import TokenSearch, blank_ids, splice, vocabulary
from sepme.attacks.gcg import GCG, pooled
from sepme.attacks.p4d import P4D, nearest
from sepme.attacks.ring_a_bell import RingABell, concept_vector
from sepme.attacks.unlearn_diff_atk import UnlearnDiffAtk
from sepme.core.attack import Trial
from sepme.errors import SpecError

ROWS = [0, 1]


def average_loss(search, loss: Callable, draws: int = 24) -> float:
    """Loss under the same noise for any state of a search."""
    kept = search.generators
    search.generators = [torch.Generator().manual_seed(row) for row in ROWS]
    values = [float(loss(search, (k + 0.5) / draws).detach().mean()) for k in range(draws)]
    search.generators = kept
    return statistics.mean(values)


@pytest.mark.parametrize(
    ("attack", "loss"),
    [
        (
            UnlearnDiffAtk(tokens=3, learning_rate=0.1),
            lambda search, progress: search.losses(progress, ROWS),
        ),
        (P4D(tokens=5, learning_rate=0.02), lambda search, _: search.losses(ROWS)),
    ],
    ids=["unlearn-diff-atk", "p4d"],
)
@pytest.mark.slow
def test_descent_lowers_the_loss(attack: TokenSearch, loss: Callable, trial: Trial) -> None:
    changes = []
    for maximize in (False, True):
        search = attack._search(trial, trial.examples, 0)
        search.adam.param_groups[0]["maximize"] = maximize
        start = average_loss(search, loss)
        for step in range(40):
            search.step(step / 40, ROWS)
        changes.append(average_loss(search, loss) - start)
    down, up = changes
    assert down < 0
    assert down < up  # inverse check: the same steps uphill end higher


def test_weights_stay_distributions(trial: Trial) -> None:
    search = UnlearnDiffAtk(tokens=2)._search(trial, trial.examples, 0)
    for step in range(3):
        search.step(step / 3, ROWS)
    for weight in search.weights:
        assert (weight >= 0).all()
        torch.testing.assert_close(weight.sum(1), torch.ones(len(weight)))


def test_rows_that_fell_stay_as_they_were(trial: Trial) -> None:
    search = UnlearnDiffAtk(tokens=2)._search(trial, trial.examples, 0)
    search.step(0.0, ROWS)
    kept = search.weights[0].clone()
    search.step(0.5, [1])
    assert torch.equal(search.weights[0], kept)


def test_the_nearest_token_of_a_token_is_itself(trial: Trial) -> None:
    table = trial.subject.token_table
    assert torch.equal(nearest(3 * table, table), torch.arange(len(table)))
    assert not torch.equal(nearest(-table, table), torch.arange(len(table)))


def test_swaps_only_get_better_and_never_use_masked_tokens(trial: Trial) -> None:
    search = GCG(tokens=4, candidates=24, top=60)._search(trial, trial.examples, 0)
    start = list(search.loss)
    allowed = set(vocabulary(trial.subject, without=trial.concept).tolist())
    for _ in range(12):
        before = list(search.loss)
        assert set(search.swaps(0).flatten().tolist()) <= allowed
        search.step(0.0, ROWS)
        assert all(now <= then for now, then in zip(search.loss, before, strict=True))
    assert all(now < then for now, then in zip(search.loss, start, strict=True))
    found = set(search.found(ROWS).flatten().tolist())
    own = set(trial.subject.tokenize(["owl"])[0, 1:4].tolist())
    assert not own & found
    search.allowed = torch.arange(len(trial.subject.token_table))  # inverse check: no mask
    unmasked = set(torch.cat([search.swaps(0) for _ in range(40)]).flatten().tolist())
    assert not unmasked <= allowed


def test_the_gradient_is_that_of_the_distance(trial: Trial) -> None:
    search = GCG(tokens=3)._search(trial, trial.examples, 0)
    slope, ids = search.gradient(0), splice(blank_ids(trial.subject, 1), search.tokens[0][None])
    embeds = trial.subject.token_table[ids]
    moved = embeds.clone()
    moved[0, 2] += 1e-2 * trial.subject.token_table[search.allowed[5]]

    def distance(rows: torch.Tensor) -> float:
        return float(search._distance(0, trial.subject.encode_tokens(rows), ids).detach())

    growth = (distance(moved) - distance(embeds)) / 1e-2
    assert growth == pytest.approx(float(slope[1, 5]), rel=0.1)
    assert growth != pytest.approx(float(slope[1, 6]), rel=0.1)  # inverse check: another token


def test_pooling_takes_the_first_end(trial: Trial) -> None:
    ids = trial.subject.tokenize(["owl", "a fig"])
    embeds = trial.subject.encode(["owl", "a fig"])
    rows = pooled(trial.subject, embeds, ids)
    assert torch.equal(rows[0], embeds[0, 4])
    assert torch.equal(rows[1], embeds[1, 5])


def test_generations_get_fitter(trial: Trial) -> None:
    search = RingABell(tokens=4, population=16)._search(trial, trial.examples, 0)
    start = list(search.loss)
    for _ in range(60):
        search.step(0.0, ROWS)
    for now, then in zip(search.loss, start, strict=True):
        assert now.min() < then.min()
        assert now.median() < then.median()
    assert all(len(alive) == 16 for alive in search.alive)


def test_the_concept_vector_is_what_the_concept_adds(trial: Trial) -> None:
    shape = trial.subject.encode([""])[0].shape
    vector = concept_vector(trial.subject, trial.concept)
    assert vector.shape == shape


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: UnlearnDiffAtk(tokens=0),
        lambda: P4D(learning_rate=-0.1),
        lambda: RingABell(population=0),
        lambda: GCG(match="half"),
    ],
)
def test_wrong_settings_are_refused(wrong) -> None:
    with pytest.raises(SpecError):
        wrong()
