"""What a fit of SepME must be, against loops and algebra written again here."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

import sepme
from sepme.core.shift import ConceptShift
from sepme.linalg.null_space import null_space
from sepme.methods._batches import Batches
from sepme.methods._pools import FrozenPool, frozen_pool
from sepme.pipeline import ErasedPipeline
from tests.tiny import concepts_of, noise_of

SMALL = sepme.SepME(
    images=2, pool=4, learning_rate=0.1, scale=0.02, momentum=0.9, threshold=-1.0,
    max_steps=15, penalty=1e-6, basis="null-space", decorrelate="batch",
)  # fmt: skip
BASES = ["null-space", "private"]


def losses_of(method: sepme.SepME, model: ErasedPipeline, **options) -> list[float]:
    target, *others = concepts_of(model, 3)
    losses: list[float] = []
    method.fit(model, target, retain=others, on_step=lambda s: losses.append(s.loss), **options)
    return losses


def change(model: ErasedPipeline, prompts: Sequence[str], shift: ConceptShift) -> float:
    return float((noise_of(model, prompts, [shift]) - noise_of(model, prompts, [])).abs().max())


@pytest.mark.parametrize("basis", BASES)
def test_shifts_lie_in_the_null_space(model: ErasedPipeline, basis: str) -> None:
    target, *others = concepts_of(model, 3)
    shift = replace(SMALL, basis=basis, max_steps=4).fit(model, target, retain=others)
    listed = [*model.known, *others]
    assert shift.decoupled_from == tuple(sorted(concept.name for concept in listed))
    rows = model.encode([p for concept in listed for p in concept.prompts]).double().flatten(0, 1)
    own = model.encode(target.prompts).double().flatten(0, 1)
    for site in shift.payload.sites:
        delta = shift.payload.delta(site, torch.empty(0))
        effect, on_own = ((r @ delta.T).norm() / (r.norm() * delta.norm()) for r in (rows, own))
        assert effect < 1e-6
        assert on_own > 1e-3  # inverse check: the target's own rows are moved
    prompts = [prompt for concept in listed for prompt in concept.prompts]
    assert change(model, prompts, shift) < 1e-5
    assert change(model, target.prompts, shift) > 1e-4


@pytest.mark.parametrize("name", ["tiny", pytest.param("demo", marks=pytest.mark.slow)])
def test_a_small_basis_reaches_what_the_full_one_reaches(
    name: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(f"{name}_model")
    target, *others = concepts_of(model, 3)
    still = replace(SMALL, scale=1e-9, max_steps=12)
    goal = fmean(losses_of(still, model)) / 10  # a tenth of where the pool starts
    sizes = {}
    for basis in BASES:
        method = replace(SMALL, basis=basis, threshold=goal, momentum=0.5, max_steps=600)
        shift = method.fit(model, target, retain=others)
        assert shift.provenance.fit["stopped"], basis
        assert shift.provenance.fit["momentum"] <= goal
        sizes[basis] = shift.nbytes
    assert sizes["private"] < sizes["null-space"] / 2
    unmoved = replace(still, threshold=goal).fit(model, target, retain=others)
    assert not unmoved.provenance.fit["stopped"]  # inverse check: the goal is not met by itself


# ------------------------------------------------------------- the paper's own formulation


def four_forwards(
    model: ErasedPipeline, pool: FrozenPool, basis: Tensor, method: sepme.SepME, seed: int
) -> list[float]:
    """Losses of the loop with two models and four forwards a step, until its own stop."""
    theta0, theta = (copy.deepcopy(model.pipeline.unet) for _ in range(2))
    sites = list(model.sites())
    factors = [
        torch.zeros(theta.get_submodule(s).out_features, len(basis), requires_grad=True)
        for s in sites
    ]
    adam = torch.optim.Adam(factors, lr=method.learning_rate)
    blank = model.encode([""])
    losses: list[float] = []
    running = None
    for n, pick in enumerate(Batches(torch.arange(len(pool)), 1, seed=seed), start=1):
        x, t, c = pool.latents[pick], pool.timesteps[pick], pool.embeds[pick]
        changes = [method.scale * (a @ basis) for a in factors]
        moved = {
            f"{s}.weight": theta0.get_submodule(s).weight + change
            for s, change in zip(sites, changes, strict=True)
        }
        with torch.no_grad():
            before = theta0(x, t, c).sample - theta0(x, t, blank).sample
        after = (
            functional_call(theta, moved, (x, t, c)).sample
            - functional_call(theta, moved, (x, t, blank)).sample
        )
        loss = (after * before).mean()
        losses.append(loss.item())
        running = losses[-1] if running is None else 0.9 * running + 0.1 * losses[-1]
        if (n > 10 and running <= method.threshold) or n == method.max_steps:
            return losses
        norm = sum(change.abs().sum() for change in changes) / len(sites)
        adam.zero_grad()
        (loss + method.penalty * norm).backward()
        adam.step()
    raise AssertionError


def test_fit_is_the_four_forward_loop_at_a_quarter_of_the_forwards(
    tiny_model: ErasedPipeline,
) -> None:
    target, *others = concepts_of(tiny_model, 3)
    listed = [p for concept in (*tiny_model.known, *others) for p in concept.prompts]
    basis = null_space(tiny_model.encode(listed)).basis.float()
    pool = frozen_pool(tiny_model, target, images=2, size=4, bins=50, seed=3)
    start = losses_of(SMALL, tiny_model, seed=3)[0]
    stopped_at = set()
    for share in (0.9, -0.5):
        method = sepme.SepME(
            images=2, pool=4, learning_rate=0.1, scale=0.02, momentum=0.9, penalty=1e-6,
            threshold=share * start, max_steps=40, basis="null-space", batch_size=1, bins=50,
        )  # fmt: skip
        ours = losses_of(method, tiny_model, seed=3)
        theirs = four_forwards(tiny_model, pool, basis, method, seed=3)
        assert len(ours) == len(theirs)
        assert torch.allclose(torch.tensor(ours), torch.tensor(theirs), rtol=2e-2, atol=start / 50)
        stopped_at.add(len(ours))
    assert len(stopped_at) > 1  # inverse check: the threshold decides when it stops
    assert min(stopped_at) > 10


def test_both_bases_start_from_the_same_loss_and_lower_it(tiny_model: ErasedPipeline) -> None:
    full, small = (losses_of(replace(SMALL, basis=basis), tiny_model) for basis in BASES)
    assert full[0] == pytest.approx(small[0], rel=1e-5)
    assert min(full) < full[0]
    assert min(small) < small[0]
