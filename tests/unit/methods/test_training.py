import itertools
import math

import numpy as np
import pytest
import torch

from sepme.core.concept import Concept
from sepme.errors import Diverged, SpecError
from sepme.methods._batches import Batches
from sepme.methods._pools import frozen_pool, noised_images
from sepme.methods._training import MomentumStop, Step, run
from tests.tiny import TINY_CONCEPTS


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([0.0] * 30, 11),  # down from the start: still ten full steps
        ([1.0] * 10 + [0.0] * 90, 32),  # 0.9^22 < 0.1 <= 0.9^21
        ([1.0] * 40, None),
        ([-1.0] * 12, 11),
    ],
)
def test_stops_at_the_first_step_after_the_tenth(losses: list[float], expected) -> None:
    stop = MomentumStop(0.9, 0.1)
    fired = next((n for n, loss in enumerate(losses, 1) if stop.update(loss).stopped), None)
    assert fired == expected


def test_momentum_starts_at_the_first_loss_and_not_at_zero() -> None:
    losses = np.random.default_rng(0).normal(1, 1, 50)
    stop, expected = MomentumStop(0.9, -math.inf), losses[0]
    for n, loss in enumerate(losses):
        expected = loss if n == 0 else 0.9 * expected + 0.1 * loss
        assert stop.update(loss).momentum == pytest.approx(expected)


def test_facts_tell_of_a_stop_only_if_there_can_be_one() -> None:
    able, unable = MomentumStop(0.9, 0.5), MomentumStop(0.9, -math.inf)
    for _ in range(11):
        able.update(0.25)
        unable.update(-1e30)
    assert able.facts() == {"steps": 11, "momentum": 0.25, "stopped": True}
    assert unable.facts().keys() == {"steps", "momentum"}
    assert not unable.stopped


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_says_what_to_try(loss: float) -> None:
    stop = MomentumStop(0.9, 0.1)
    stop.update(1.0)
    with pytest.raises(Diverged, match=r"at step 2.*Try a tenth of the learning rate"):
        stop.update(loss)


def test_batches_visit_everything_before_anything_comes_again() -> None:
    picks = torch.cat(list(itertools.islice(Batches(torch.arange(6), 2, seed=0), 9)))
    for turn in picks.view(3, 6):
        assert sorted(turn.tolist()) == list(range(6))
    again = torch.cat(list(itertools.islice(Batches(torch.arange(6), 2, seed=0), 9)))
    other = torch.cat(list(itertools.islice(Batches(torch.arange(6), 2, seed=1), 9)))
    assert torch.equal(picks, again)
    assert not torch.equal(picks, other)


def test_batches_may_be_larger_than_the_pool() -> None:
    assert {len(pick) for pick in itertools.islice(Batches(torch.arange(2), 5, seed=0), 4)} == {5}


def test_run_reports_every_step() -> None:
    steps = [Step(n, 0.0, 0.0, False) for n in (1, 2, 3)]
    seen: list[Step] = []
    run(iter(steps), "x", 3, seen.append, parts={}, what="x")
    assert seen == steps


def test_run_is_lazy() -> None:
    def steps():
        yield Step(1, 0.0, 0.0, False)
        raise AssertionError("went on after the callback raised")

    def on_step(step: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(steps(), "x", 3, on_step, parts={}, what="x")


def pool_of(model, concept=TINY_CONCEPTS[0], **options):
    return frozen_pool(model, concept, **{"images": 2, "size": 5, "bins": 50, "seed": 0} | options)


def test_pool_holds_what_the_pristine_model_says(tiny_model) -> None:
    two = Concept("two", ("owl", "fig"))
    pool = pool_of(tiny_model, two)
    assert len(pool) == 5
    expected = tiny_model.encode(["owl", "fig", "owl", "fig", "owl"])
    assert torch.equal(pool.embeds, expected)
    with torch.no_grad():
        empty = tiny_model.encode([""]).expand(5, -1, -1)
        blank = tiny_model.predict_noise(pool.latents, pool.timesteps, empty)
        target = tiny_model.predict_noise(pool.latents, pool.timesteps, expected)
    assert torch.allclose(pool.blank, blank, atol=1e-6)
    assert torch.allclose(pool.representation, target - blank, atol=1e-6)
    assert pool.representation.abs().max() > 0
    part = pool[torch.tensor([3, 1])]
    assert torch.equal(part.latents, pool.latents[[3, 1]])
    assert torch.equal(part.blank, pool.blank[[3, 1]])


def test_noised_images_know_their_noise(tiny_model) -> None:
    how = {"images": 3, "size": 5, "bins": 50, "seed": 0}
    noised = noised_images(tiny_model, ("owl", "fig"), **how)
    images = tiny_model.draw_latents(["owl", "fig", "owl"], seeds=[0, 1, 2])[[0, 1, 2, 0, 1]]
    again = tiny_model.add_noise(images, noised.noise, noised.timesteps)
    assert torch.equal(noised.latents, again)
    assert noised.prompts.tolist() == [0, 1, 0, 0, 1]
    part = noised[torch.tensor([3, 1])]
    assert torch.equal(part.noise, noised.noise[[3, 1]])
    assert part.prompts.tolist() == [0, 1]


def test_parts_follow_the_batches(tiny_model) -> None:
    pool = pool_of(tiny_model)
    picks = list(itertools.islice(Batches(torch.arange(5), 2, seed=7), 6))
    for pick, part in zip(picks, Batches(pool, 2, seed=7), strict=False):
        assert torch.equal(part.latents, pool.latents[pick])
        assert torch.equal(part.representation, pool.representation[pick])
    assert len({tuple(pick.tolist()) for pick in picks}) > 1


def test_pool_depends_on_the_seed_only(tiny_model) -> None:
    state = torch.get_rng_state()
    one, two, other = pool_of(tiny_model), pool_of(tiny_model), pool_of(tiny_model, seed=1)
    assert torch.equal(one.latents, two.latents)
    assert not torch.equal(one.latents, other.latents)
    assert torch.equal(torch.get_rng_state(), state)


def test_timesteps_cover_their_bins(tiny_model) -> None:
    timesteps = pool_of(tiny_model, size=400, images=1).timesteps
    assert timesteps.min() >= 0
    assert timesteps.max() < 1000
    assert len(set((timesteps // 20).tolist())) == 50
    assert len(set((timesteps % 20).tolist())) == 20
    with pytest.raises(SpecError, match="bins must be at most"):
        pool_of(tiny_model, bins=1001)


def test_a_broken_model_is_told_apart_from_a_broken_fit(tiny_model) -> None:
    weight = tiny_model.pipeline.unet.conv_out.weight
    kept = weight.clone()
    try:
        weight.fill_(math.nan)
        with pytest.raises(Diverged, match="the model as it is"):
            pool_of(tiny_model)
    finally:
        weight.copy_(kept)
