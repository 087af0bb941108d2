import pytest
import torch

from sepme.core.concept import BLANK, Concept
from sepme.core.dense_shift import DenseShift
from sepme.errors import Diverged, MethodError, NotSeparable, SpecError
from sepme.methods._changes import Matrices
from sepme.methods._descent import steepest
from sepme.methods._discriminator import Discriminator
from sepme.methods.doco import DoCo, _clean, preserved_prompts
from tests.tiny import TINY_CONCEPTS, noise_of

TARGET, OTHER, THIRD = TINY_CONCEPTS[:3]
SMALL = {"images": 2, "pool": 4, "warm_up": 4, "max_steps": 6, "batch_size": 2}
METHOD = DoCo(**SMALL, learning_rate=1e-3).resolve()


def test_the_papers_values() -> None:
    paper = DoCo().resolve()
    assert (paper.projection, paper.warm_up, paper.max_steps) == (1.0, 1000, 1000)
    assert (paper.batch_size, paper.images) == (8, 1000)
    assert paper.learning_rate == pytest.approx(8 * 6e-6)
    assert paper.discriminator_rate == 5e-4
    for key, bad in {"projection": -1, "warm_up": 0.5, "discriminator_rate": 0}.items():
        with pytest.raises(SpecError, match=f"^{key} must be"):
            DoCo(**{key: bad})


def test_the_clean_estimate_undoes_the_noise(tiny_model) -> None:
    noised = METHOD._noised(tiny_model, ("owl",), seed=5)
    images = tiny_model.draw_latents(["owl"] * 2, seeds=[5, 6])
    found = _clean(tiny_model, noised, noised.noise)
    assert torch.allclose(found, images[[0, 1, 0, 1]], atol=1e-3)
    wrong = _clean(tiny_model, noised, torch.zeros_like(noised.noise))
    assert not torch.allclose(wrong, images[[0, 1, 0, 1]], atol=0.1)  # inverse check


def scores(model, deltas, critic, contest) -> float:
    noised = contest.noised
    with torch.no_grad():
        embeds = contest.rows.expand(len(noised.latents), -1, -1)
        noise = model.predict_noise(noised.latents, noised.timesteps, embeds, deltas=deltas)
        return critic.score(_clean(model, noised, noise)).mean().item()


def test_the_concept_comes_to_pass_as_the_anchor(tiny_model, monkeypatch) -> None:
    """A second discriminator, which the fit never met, takes it for the anchor more than before.

    Random weights hardly listen to the prompt, so the prompt is made to speak up.
    """
    encode = type(tiny_model).encode
    monkeypatch.setattr(type(tiny_model), "encode", lambda *args: 20 * encode(*args))
    options = {"images": 4, "pool": 16, "warm_up": 60, "max_steps": 30, "batch_size": 8}
    method = DoCo(**options, learning_rate=1e-3, discriminator_rate=2e-3).resolve()
    shift = method.fit(tiny_model, TARGET)
    contest = method._contest(tiny_model, TARGET, seed=7)
    critic = Discriminator.drawn(contest.anchor, rate=2e-3, seed=9)
    for _ in range(60):
        critic.learn(contest.anchor, contest.target)
    learned = {site: shift.payload.changes[site] for site in shift.payload.sites}
    turned = {site: -change for site, change in learned.items()}
    anchor = critic.score(contest.anchor).mean().item()
    before = scores(tiny_model, None, critic, contest)
    after = scores(tiny_model, learned, critic, contest)
    assert anchor < before
    assert after < before - 0.2 * (before - anchor)
    assert scores(tiny_model, turned, critic, contest) > after  # inverse check


def inner(one, other) -> list[float]:
    return [float((a * b).sum() / (a.norm() * b.norm())) for a, b in zip(one, other, strict=True)]


@pytest.mark.parametrize("projection", [1.0, 0.0])
def test_to_first_order_preserved_images_do_not_suffer(tiny_model, projection: float) -> None:
    """The gradient that is followed never works against theirs; the inverse: unprojected, it does.

    The loss followed is linear with random coefficients, less a part that opposes theirs.
    """
    method = DoCo(**SMALL | {"batch_size": 4}, projection=projection).resolve()
    others, deltas = {TARGET: (BLANK, OTHER)}, Matrices.zeros(tiny_model.sites()).deltas()
    prompts = preserved_prompts(others, method.images, 1)
    noised = method._noised(tiny_model, prompts, 1)
    batches, rows = method._preserved(tiny_model, others, 1)

    def error(changes) -> torch.Tensor:
        at = (noised.latents, noised.timesteps, rows[noised.prompts])
        return (tiny_model.predict_noise(*at, deltas=changes) - noised.noise).square().mean()

    kept = steepest(error(deltas), deltas)
    generator = torch.Generator().manual_seed(0)
    pull = {s: torch.randn(d.shape, generator=generator) for s, d in deltas.items()}
    size = {s: 0.1 * g.norm() / pull[s].norm() for s, g in zip(deltas, kept, strict=True)}
    linear = sum((size[s] * pull[s] * d).sum() for s, d in deltas.items())
    found = method._rule(tiny_model, batches, rows)(linear - error(deltas), deltas)
    cosines = inner(found, kept)
    step = 1e-2 / sum(g.square().sum() for g in kept)
    moved = {s: d - step * g for (s, d), g in zip(deltas.items(), found, strict=True)}
    with torch.no_grad():
        change = float(error(moved) - error(deltas))
    if projection:
        assert min(cosines) > -1e-3
        assert change < 1e-3
    else:
        assert max(cosines) < -0.9
        assert change > 5e-3


def test_what_is_preserved() -> None:
    first, second = (
        Concept(c.name, c.prompts, anchor=a) for c, a in zip((TARGET, OTHER), "xy", strict=True)
    )
    others = {first: (BLANK, THIRD, second), second: (BLANK, THIRD, first)}
    prompts = preserved_prompts(others, 9, seed=0)
    assert prompts[:2] == ("x", "y")
    assert set(prompts) == {"x", "y", "", "jar"}  # nothing that is to be erased
    assert preserved_prompts(others, 3, seed=0) == prompts[:3]
    orders = {preserved_prompts(others, 9, seed=seed) for seed in range(9)}
    assert len(orders) == 2


def test_without_projection_nothing_is_drawn_to_preserve(tiny_model, monkeypatch) -> None:
    asked = []
    draw = type(tiny_model).draw_latents

    def noted(self, prompts, *, seeds):
        asked.extend(prompts)
        return draw(self, prompts, seeds=seeds)

    monkeypatch.setattr(type(tiny_model), "draw_latents", noted)
    free = DoCo(**SMALL | {"images": 4}, projection=0.0).fit(tiny_model, TARGET, retain=[OTHER])
    assert asked == [""] * 4
    careful = DoCo(**SMALL | {"images": 5}).fit(tiny_model, TARGET, retain=[OTHER])
    assert set(asked[8:]) == {"", "#1", "@2", "fig"}
    assert not torch.equal(*(next(iter(s.payload.tensors().values())) for s in (free, careful)))


def test_it_takes_all_its_steps_and_spares_nothing(tiny_model) -> None:
    seen = []
    shift = METHOD.fit(tiny_model, TARGET, retain=[OTHER], on_step=seen.append)
    assert [step.number for step in seen] == list(range(1, 7))
    assert not any(step.stopped for step in seen)
    assert shift.provenance.fit == {"steps": 6, "momentum": seen[-1].momentum}
    assert isinstance(shift.payload, DenseShift)
    assert (shift.separable, shift.decoupled_from) == (False, ())
    prompts = ["", *OTHER.prompts]
    moved = noise_of(tiny_model, prompts, [shift]) - noise_of(tiny_model, prompts, [])
    assert moved.abs().max() > 1e-4


def test_several_share_one_shift(tiny_model) -> None:
    (shift,) = METHOD.fit_many(tiny_model, [OTHER, TARGET])
    assert shift.concepts == (TARGET, OTHER)
    tiny_model.erase(shift)
    with pytest.raises(NotSeparable, match="erased jointly"):
        tiny_model.restore("b")


def test_a_concept_is_no_anchor_of_its_own(tiny_model) -> None:
    same = Concept("same", ("owl", "fig"), anchor="fig ")
    with pytest.raises(MethodError, match="another anchor"):
        METHOD.fit(tiny_model, same)


@pytest.mark.parametrize("rate", ["learning_rate", "discriminator_rate"])
def test_divergence_says_what_to_try(tiny_model, rate: str) -> None:
    before = {site: weight.clone() for site, weight in tiny_model.backend.live().items()}
    with pytest.raises(Diverged, match="Try a tenth"):
        DoCo(**SMALL, **{rate: 1e38}).fit(tiny_model, TARGET)
    assert all(torch.equal(tiny_model.backend.live()[s], w) for s, w in before.items())
