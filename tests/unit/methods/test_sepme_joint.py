import copy

import pytest
import torch
from torch.func import functional_call

import sepme
from sepme.core.concept import Concept
from sepme.errors import Diverged, MethodError, NotSeparable, NullSpaceExhausted
from sepme.linalg.null_space import null_space
from sepme.methods._batches import Batches
from sepme.methods._descent import balance
from sepme.methods._pools import frozen_pool
from sepme.methods.sepme_joint import SepMEJoint
from tests.tiny import TINY_CONCEPTS, noise_of

THREE = TINY_CONCEPTS[:3]
SMALL = {"images": 2, "pool": 4, "max_steps": 12, "scale": 0.02, "threshold": -1.0}


def prompts_of(concepts) -> list[str]:
    return [prompt for concept in concepts for prompt in concept.prompts]


def change(model, prompts, shifts) -> float:
    return float((noise_of(model, prompts, shifts) - noise_of(model, prompts, [])).abs().max())


@pytest.mark.parametrize(
    "setting", [{}, {"basis": "private"}, {"threshold": 1e9}, {"batch_size": 3, "penalty": 1.0}]
)
def test_one_concept_is_the_separate_variant(tiny_model, setting: dict) -> None:
    method, separate = SepMEJoint(**SMALL | setting), sepme.SepME(**SMALL | setting)
    losses: dict[str, list[float]] = {"joint": [], "separate": []}
    target, *others = THREE
    joint = method.fit(
        tiny_model, target, retain=others, seed=4, on_step=lambda s: losses["joint"].append(s.loss)
    )
    alone = separate.fit(
        tiny_model, target, retain=others, seed=4,
        on_step=lambda s: losses["separate"].append(s.loss),
    )  # fmt: skip
    assert losses["joint"] == losses["separate"]
    assert joint.decoupled_from == alone.decoupled_from
    assert joint.provenance.fit == alone.provenance.fit
    (many,) = method.fit_many(tiny_model, [target], retain=others, seed=4)
    assert many == joint
    tensors = alone.payload.tensors()
    assert all(torch.equal(tensor, tensors[k]) for k, tensor in joint.payload.tensors().items())
    other = method.fit(tiny_model, target, retain=others, seed=5).payload.tensors()
    assert not all(torch.equal(other[k], tensors[k]) for k in tensors)  # inverse check


def basis_of(model, concept) -> torch.Tensor:
    others = [*model.known, *(other for other in THREE if other != concept)]
    return null_space(model.encode(prompts_of(others))).basis.float()


def by_hand(model, method: SepMEJoint, seed: int) -> list[float]:
    """The paper's loop for three concepts: one objective, one optimiser, blank predicted anew."""
    theta = copy.deepcopy(model.pipeline.unet)
    weights, blank = model.sites(), model.encode([""])
    pools = [frozen_pool(model, c, images=2, size=4, bins=50, seed=seed) for c in THREE]
    bases = [basis_of(model, concept) for concept in THREE]
    factors = [
        {s: torch.zeros(len(w), len(b), requires_grad=True) for s, w in weights.items()}
        for b in bases
    ]
    adam = torch.optim.Adam([a for each in factors for a in each.values()], lr=0.1)
    found = []
    visits = [Batches(torch.arange(len(pool)), 1, seed=seed) for pool in pools]
    for _ in range(method.max_steps):
        total = {
            s: sum(method.scale * each[s] @ b for each, b in zip(factors, bases, strict=True))
            for s in weights
        }
        moved = {f"{s}.weight": weights[s] + delta for s, delta in total.items()}
        losses = []
        for pool, visit in zip(pools, visits, strict=True):
            part = pool[next(visit)]
            after = [
                functional_call(theta, moved, (part.latents, part.timesteps, text)).sample
                for text in (part.embeds, blank)
            ]
            losses.append(((after[0] - after[1]) * part.representation).mean())
        eta = balance([loss.item() for loss in losses])
        objective = sum(e * loss for e, loss in zip(eta, losses, strict=True))
        found.append(objective.item())
        norm = sum(delta.abs().sum() for delta in total.values()) / len(weights)
        adam.zero_grad()
        (objective + method.penalty * norm).backward()
        adam.step()
    return found


def test_fit_many_is_the_joint_objective(tiny_model) -> None:
    method = SepMEJoint(**SMALL, penalty=1e-3).resolve()
    ours: list[float] = []
    method.fit_here(tiny_model, THREE, seed=3, on_step=lambda step: ours.append(step.loss))
    theirs = by_hand(tiny_model, method, seed=3)
    assert torch.allclose(torch.tensor(ours), torch.tensor(theirs), rtol=2e-2, atol=theirs[0] / 50)
    assert min(ours) < 0.7 * ours[0]  # inverse check: it does learn


def test_each_shift_leaves_the_others_alone(tiny_model) -> None:
    shifts = SepMEJoint(**SMALL).fit_many(tiny_model, THREE)
    names = {concept.name for concept in (*tiny_model.known, *THREE)}
    for concept, shift in zip(THREE, shifts, strict=True):
        assert shift.concepts == (concept,)
        assert shift.separable
        assert set(shift.decoupled_from) == names - {concept.name}
        others = prompts_of([*tiny_model.known, *(c for c in THREE if c != concept)])
        assert change(tiny_model, others, [shift]) < 1e-5
        assert change(tiny_model, concept.prompts, [shift]) > 1e-3  # inverse check
    tiny_model.erase(*shifts)
    tiny_model.restore(THREE[1].name)
    assert tiny_model.erased == ("a", "c")


def test_a_concept_is_frozen_at_its_own_stop(tiny_model) -> None:
    still = SMALL | {"scale": 1e-9}  # the losses are the pool's own
    free = SepMEJoint(**still | {"max_steps": 11}).fit_many(tiny_model, THREE)
    reached = {shift.name: shift.provenance.fit["momentum"] for shift in free}
    first = min(reached, key=reached.get)
    seen = []
    method = SepMEJoint(**still | {"threshold": reached[first]})
    shifts = method.fit_here(tiny_model, THREE, on_step=seen.append)
    facts = {shift.name: shift.provenance.fit for shift in shifts}
    assert {name: fact["steps"] for name, fact in facts.items()} == {
        name: 11 if name == first else 12 for name in reached
    }
    assert facts[first]["stopped"]
    assert len(seen) == 12
    assert not seen[10].stopped
    assert seen[11].momentum == max(fact["momentum"] for fact in facts.values())


def test_contradictions_and_nothing(tiny_model) -> None:
    method = SepMEJoint(**SMALL)
    assert method.fit_many(tiny_model, []) == ()
    with pytest.raises(MethodError, match="twice"):
        method.fit_many(tiny_model, [THREE[0], THREE[0]])
    with pytest.raises(NotSeparable, match="same prompt"):
        method.fit_many(tiny_model, [THREE[0], Concept("alias", THREE[0].prompts)])
    words = ("bat", "cup", "dig", "elk", "fur", "gum", "hip", "ivy", "kin", "lap", "mud", "nut")
    crowd = [Concept(word, (f"{word} {word[::-1]}",)) for word in words]
    with pytest.raises((NullSpaceExhausted, NotSeparable)):
        method.fit_many(tiny_model, crowd)


def test_divergence_of_one_says_what_to_try(tiny_model) -> None:
    before = {site: weight.clone() for site, weight in tiny_model.backend.live().items()}
    with pytest.raises(Diverged, match="Try a tenth"):
        SepMEJoint(**SMALL | {"scale": 1e38, "learning_rate": 1e6}).fit_many(tiny_model, THREE)
    assert all(torch.equal(tiny_model.backend.live()[s], w) for s, w in before.items())
