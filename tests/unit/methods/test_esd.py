import copy
from collections import Counter

import pytest
import torch
from torch.func import functional_call

from sepme.core.dense_shift import DenseShift
from sepme.errors import Diverged, NotSeparable, SpecError
from sepme.methods._batches import Batches
from sepme.methods._pools import frozen_pool
from sepme.methods.esd import ESD
from tests.tiny import TINY_CONCEPTS, noise_of

TARGET, OTHER = TINY_CONCEPTS[:2]
SMALL = {"images": 2, "pool": 4, "max_steps": 15, "learning_rate": 3e-3}


def losses_of(model, method: ESD, concepts=(TARGET,), **options) -> list[float]:
    losses: list[float] = []
    method.fit_here(model, concepts, on_step=lambda step: losses.append(step.loss), **options)
    return losses


def test_the_papers_values() -> None:
    paper = ESD().resolve()
    assert (paper.guidance, paper.learning_rate, paper.max_steps) == (1.0, 1e-5, 1000)
    assert (paper.batch_size, paper.bins) == (1, 50)
    assert (paper.variant, paper.target_modules) == ("x", "")
    for key, bad in {
        "variant": "full",
        "guidance": 0,
        "learning_rate": -1,
        "max_steps": 1.5,
    }.items():
        with pytest.raises(SpecError, match=f"^{key} must be"):
            ESD(**{key: bad})
    with pytest.raises(SpecError, match="no hyper-parameter 'threshold'"):
        ESD().resolve({"threshold": 0.0})


def by_hand(model, method: ESD, seed: int) -> list[float]:
    """The paper's loop: a frozen teacher asked twice a step, a student with trained weights."""
    teacher, student = (copy.deepcopy(model.pipeline.unet) for _ in range(2))
    chosen = model.sites(method._targets())
    weights = {s: w.clone().requires_grad_() for s, w in chosen.items()}
    named = {f"{site}.weight": weight for site, weight in weights.items()}
    blank = model.encode([""])
    adam = torch.optim.Adam(weights.values(), lr=method.learning_rate)
    pool = frozen_pool(model, TARGET, images=2, size=4, bins=50, seed=seed)
    found = []
    for _, pick in zip(
        range(method.max_steps), Batches(torch.arange(4), 1, seed=seed), strict=False
    ):
        x, t, c = pool.latents[pick], pool.timesteps[pick], pool.embeds[pick]
        with torch.no_grad():
            empty, full = teacher(x, t, blank).sample, teacher(x, t, c).sample
        goal = empty - method.guidance * (full - empty)
        loss = (functional_call(student, named, (x, t, c)).sample - goal).square().mean()
        found.append(loss.item())
        adam.zero_grad()
        loss.backward()
        adam.step()
    return found


@pytest.mark.parametrize(
    ("variant", "guidance", "rate"),
    [("strict", 1.0, 3e-3), ("strict", 3.0, 3e-3), ("x", 1.0, 3e-3), ("u", 1.0, 3e-4)],
)
def test_fit_is_the_loop_with_a_teacher(
    tiny_model, variant: str, guidance: float, rate: float
) -> None:
    options = SMALL | {"variant": variant, "guidance": guidance, "learning_rate": rate}
    method = ESD(**options).resolve()
    ours = losses_of(tiny_model, method, seed=3)
    theirs = by_hand(tiny_model, method, seed=3)
    assert torch.allclose(torch.tensor(ours), torch.tensor(theirs), rtol=2e-2, atol=theirs[0] / 50)
    assert min(ours) < 0.7 * ours[0]  # inverse check: it does learn


def test_a_variant_says_which_weights_are_learned(tiny_model) -> None:
    everything = set(tiny_model.sites(".*"))
    cross = {site for site in everything if ".attn2." in site}
    spared = {"conv_out", "time_embedding.linear_1", "time_embedding.linear_2"}
    expected = {"x": cross, "u": everything - cross - spared, "strict": set(tiny_model.sites())}
    for variant, sites in expected.items():
        method = ESD(**SMALL | {"max_steps": 2}, variant=variant)
        shift = method.fit(tiny_model, TARGET)
        assert set(shift.payload.sites) == sites
        assert all(change.any() for change in shift.payload.changes.values())
        assert shift.provenance.config["variant"] == variant
    (site,) = ESD(**SMALL, target_modules="conv_in").fit(tiny_model, TARGET).payload.sites
    assert site == "conv_in"  # sites that are named win


def test_restored_means_every_weight(tiny_model) -> None:
    unet = tiny_model.pipeline.unet
    before = {name: weight.clone() for name, weight in unet.state_dict().items()}
    tiny_model.erase(ESD(**SMALL, variant="u").fit(tiny_model, TARGET))
    after = unet.state_dict()
    moved = {name for name, weight in before.items() if not torch.equal(after[name], weight)}
    assert "conv_in.weight" in moved  # inverse check: convolutions are changed
    assert not any(".attn2." in name for name in moved)
    tiny_model.restore(TARGET.name)
    assert all(torch.equal(unet.state_dict()[name], weight) for name, weight in before.items())


def test_the_prediction_turns_away_from_the_concept(tiny_model) -> None:
    """Along the concept's direction it moves towards minus eta; the inverse: untrained, it is 1."""
    pool = frozen_pool(tiny_model, TARGET, images=2, size=4, bins=50, seed=0)
    shift = ESD(**SMALL | {"max_steps": 60}).fit(tiny_model, TARGET)
    deltas = {site: shift.payload.changes[site] for site in shift.payload.sites}

    def along(changes) -> float:
        with torch.no_grad():
            noise = tiny_model.predict_noise(
                pool.latents, pool.timesteps, pool.embeds, deltas=changes
            )
        r = pool.representation
        return float(((noise - pool.blank) * r).sum() / r.square().sum())

    assert along(None) == pytest.approx(1, abs=1e-3)
    assert along(deltas) < 0.5


def test_nothing_is_spared(tiny_model) -> None:
    shift = ESD(**SMALL).fit(tiny_model, TARGET, retain=[OTHER])
    assert isinstance(shift.payload, DenseShift)
    assert not shift.separable
    assert shift.decoupled_from == ()
    prompts = ["", *OTHER.prompts]
    moved = (noise_of(tiny_model, prompts, [shift]) - noise_of(tiny_model, prompts, [])).abs().max()
    assert moved > 1e-3


def test_it_takes_all_its_steps_and_says_so(tiny_model) -> None:
    seen = []
    shift = ESD(**SMALL).fit(tiny_model, TARGET, on_step=seen.append)
    assert [step.number for step in seen] == list(range(1, 16))
    assert not any(step.stopped for step in seen)
    assert shift.provenance.fit == {"steps": 15, "momentum": seen[-1].momentum}


def test_several_take_turns_and_share_one_shift(tiny_model, monkeypatch) -> None:
    asked = Counter()
    predict = type(tiny_model).predict_noise
    rows = {c.name: tiny_model.encode(c.prompts) for c in (TARGET, OTHER)}

    def counted(self, latents, timesteps, prompt_embeds, *, deltas=None):
        if deltas is not None:
            asked.update(n for n, row in rows.items() if torch.equal(row, prompt_embeds))
        return predict(self, latents, timesteps, prompt_embeds, deltas=deltas)

    monkeypatch.setattr(type(tiny_model), "predict_noise", counted)
    (shift,) = ESD(**SMALL | {"max_steps": 6}).fit_many(tiny_model, [OTHER, TARGET])
    assert asked == {"a": 6, "b": 6}, "each has all its steps"
    assert shift.concepts == (TARGET, OTHER)
    tiny_model.erase(shift)
    with pytest.raises(NotSeparable, match="erased jointly"):
        tiny_model.restore("b")


def test_divergence_says_what_to_try(tiny_model) -> None:
    before = {site: weight.clone() for site, weight in tiny_model.backend.live().items()}
    with pytest.raises(Diverged, match="Try a tenth"):
        ESD(**SMALL | {"learning_rate": 1e38}).fit(tiny_model, TARGET)
    assert all(torch.equal(tiny_model.backend.live()[s], w) for s, w in before.items())
