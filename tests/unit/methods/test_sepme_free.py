import copy

import pytest
import torch
from torch.func import functional_call

import sepme
from sepme.core.backend import CROSS_ATTN_KV
from sepme.core.dense_shift import DenseShift
from sepme.errors import Diverged, Interference, NotSeparable, SpecError
from sepme.methods._batches import Batches
from sepme.methods._descent import balance
from sepme.methods._pools import frozen_pool
from sepme.methods.sepme_free import SepMEFree
from tests.tiny import TINY_CONCEPTS, noise_of

TARGET, OTHER = TINY_CONCEPTS[:2]
SMALL = {"images": 2, "pool": 4, "max_steps": 15, "learning_rate": 3e-3, "threshold": -1.0}


def losses_of(model, method: SepMEFree, concepts=(TARGET,), **options) -> list[float]:
    losses: list[float] = []
    method.fit_here(model, concepts, on_step=lambda step: losses.append(step.loss), **options)
    return losses


def test_the_papers_values() -> None:
    paper = SepMEFree().resolve()
    assert (paper.learning_rate, paper.momentum, paper.threshold) == (1e-5, 0.9, 1e-4)
    assert (paper.penalty, paper.max_steps, paper.batch_size, paper.bins) == (1e-6, 1000, 1, 50)
    assert paper.target_modules == CROSS_ATTN_KV
    for key, bad in {"learning_rate": 0, "momentum": 2, "penalty": -1, "threshold": "0"}.items():
        with pytest.raises(SpecError, match=f"^{key} must be"):
            SepMEFree(**{key: bad})
    with pytest.raises(SpecError, match="no hyper-parameter 'scale'"):
        SepMEFree().resolve({"scale": 0.1})


def by_hand(model, concepts, method: SepMEFree, seed: int) -> list[float]:
    """The paper's loop with the weights themselves trained, in a second model."""
    theta0, theta = (copy.deepcopy(model.pipeline.unet) for _ in range(2))
    weights = {s: w.clone().requires_grad_() for s, w in model.sites().items()}
    named = {f"{site}.weight": weight for site, weight in weights.items()}
    blank = model.encode([""])
    adam = torch.optim.Adam(weights.values(), lr=method.learning_rate)
    pools = [frozen_pool(model, c, images=2, size=4, bins=50, seed=seed) for c in concepts]
    visits = [Batches(torch.arange(len(pool)), 1, seed=seed) for pool in pools]
    found = []
    for _ in range(method.max_steps):
        losses = []
        for pool, visit in zip(pools, visits, strict=True):
            part = pool[next(visit)]
            at = (part.latents, part.timesteps)
            with torch.no_grad():
                before = theta0(*at, part.embeds).sample - theta0(*at, blank).sample
            moved = [functional_call(theta, named, (*at, e)).sample for e in (part.embeds, blank)]
            losses.append(((moved[0] - moved[1]) * before).mean())
        eta = balance([loss.item() for loss in losses])
        objective = sum(e * loss for e, loss in zip(eta, losses, strict=True))
        found.append(objective.item())
        changes = [weights[site] - weight for site, weight in model.sites().items()]
        norm = sum(change.abs().sum() for change in changes) / len(changes)
        adam.zero_grad()
        (objective + method.penalty * norm).backward()
        adam.step()
    return found


@pytest.mark.parametrize("concepts", [(TARGET,), (TARGET, OTHER)], ids=["one", "two"])
def test_fit_is_the_loop_with_trained_weights(tiny_model, concepts) -> None:
    method = SepMEFree(**SMALL, penalty=1e-5).resolve()
    ours = losses_of(tiny_model, method, concepts, seed=3)
    theirs = by_hand(tiny_model, concepts, method, seed=3)
    assert torch.allclose(torch.tensor(ours), torch.tensor(theirs), rtol=2e-2, atol=theirs[0] / 50)
    assert min(ours) < 0.7 * ours[0]  # inverse check: it does learn


def test_nothing_is_spared(tiny_model) -> None:
    shift = SepMEFree(**SMALL).fit(tiny_model, TARGET, retain=[OTHER])
    assert isinstance(shift.payload, DenseShift)
    assert not shift.separable
    assert shift.decoupled_from == ()
    assert set(shift.payload.sites) == set(tiny_model.sites())
    prompts = ["", *OTHER.prompts]
    moved = (noise_of(tiny_model, prompts, [shift]) - noise_of(tiny_model, prompts, [])).abs().max()
    assert moved > 1e-3
    inside = sepme.SepME(images=2, pool=4, max_steps=15, scale=0.02, threshold=-1.0)
    spared = inside.fit(tiny_model, TARGET, retain=[OTHER])  # inverse check: there, they are
    still = (noise_of(tiny_model, prompts, [spared]) - noise_of(tiny_model, prompts, [])).abs()
    assert still.max() < 1e-5


def test_the_stop_is_that_of_the_paper(tiny_model) -> None:
    early = SepMEFree(**SMALL | {"threshold": 1e9}).fit(tiny_model, TARGET)
    assert early.provenance.fit["stopped"]
    assert early.provenance.fit["steps"] == 11
    ten = SepMEFree(**SMALL | {"max_steps": 10}).fit(tiny_model, TARGET)
    assert not ten.provenance.fit["stopped"]
    for site in ten.payload.sites:
        assert torch.equal(early.payload.changes[site], ten.payload.changes[site])


def test_several_share_one_shift(tiny_model) -> None:
    method = SepMEFree(**SMALL)
    (shift,) = method.fit_many(tiny_model, [OTHER, TARGET])
    assert shift.concepts == (TARGET, OTHER)
    tiny_model.erase(shift)
    assert tiny_model.erased == ("a", "b")
    with pytest.raises(NotSeparable, match="erased jointly"):
        tiny_model.restore("a")
    third = method.fit(tiny_model, TINY_CONCEPTS[2])
    with pytest.raises(Interference, match="not separable"):
        tiny_model.erase(third)
    tiny_model.restore("a", "b")
    assert all(torch.equal(tiny_model.backend.live()[s], w) for s, w in tiny_model.sites().items())
    assert method.fit_many(tiny_model, []) == ()


def test_divergence_says_what_to_try(tiny_model) -> None:
    before = {site: weight.clone() for site, weight in tiny_model.backend.live().items()}
    with pytest.raises(Diverged, match="Try a tenth"):
        SepMEFree(**SMALL | {"learning_rate": 1e38}).fit(tiny_model, TARGET)
    assert all(torch.equal(tiny_model.backend.live()[s], w) for s, w in before.items())


def test_half_precision_weights_learn_in_float32(tiny_folder) -> None:
    model = sepme.load(tiny_folder, dtype=torch.bfloat16)
    shift = SepMEFree(**SMALL).fit(model, TARGET)
    assert {change.dtype for change in shift.payload.changes.values()} == {torch.float32}
    assert all(change.any() for change in shift.payload.changes.values())
