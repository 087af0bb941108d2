"""Rows of one batch with erased sets of their own equal models with these sets folded in."""

import pytest
import torch

import sepme
from sepme.errors import BackendError, BaseMismatch
from sepme.pipeline import ErasedPipeline
from tests.policies import (
    FIG,
    MAKERS,
    NAMES,
    OWL,
    PROMPTS,
    SETS,
    folded,
    held,
    noise,
    off,
    policed,
    shift_of,
)
from tests.unit.backends.test_guarding import Doubling, hooks

PAIRS = [("site", kind) for kind in MAKERS]
PAIRS += [("text", kind) for kind in ("text", "dense", "bottleneck")]


@pytest.fixture(scope="module")
def wide_loaded(tiny_folder) -> ErasedPipeline:
    return sepme.load(tiny_folder, dtype=torch.float64)


@pytest.fixture
def wide(wide_loaded: ErasedPipeline) -> ErasedPipeline:
    """The tiny pipeline in float64, where only rounding can be as small as 1e-12."""
    return ErasedPipeline(wide_loaded.backend)


@pytest.mark.parametrize("guided", [True, False], ids=["guided", "plain"])
@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_equals_folded_weights(wide: ErasedPipeline, one: str, two: str, guided: bool) -> None:
    held(wide, shift_of(one, wide, OWL, 1), strength=0.5)
    held(wide, shift_of(two, wide, FIG, 2), strength=1.5)
    pristine = noise(wide, PROMPTS, guided=guided)
    expected = folded(wide, SETS, PROMPTS, guided=guided)
    found = policed(wide, guided=guided)
    assert off(found, expected).max() < (1e-5 if two == "bottleneck" else 1e-12)  # it has float32
    assert torch.equal(found[1::4], pristine[1::4])  # the empty set, next to rows with sets
    swapped = policed(wide, SETS[::-1], guided=guided)  # inverse check: it matters who has which
    assert off(swapped, expected)[0::4].max() > 1e-3
    assert off(pristine, expected)[2::4].max() > 1e-3


def test_many_concepts_in_one_row(wide: ErasedPipeline) -> None:
    kinds = ("site", "text", "site", "text", "text of values")
    made = zip(kinds, NAMES.values(), range(5), strict=True)
    held(wide, *(shift_of(kind, wide, concept, seed) for kind, concept, seed in made), strength=0.3)
    sets = (set(NAMES), {"a", "c"}, {"b", "d", "e"}, set())
    with wide.policies(sets, allow_interference=True):
        found = noise(wide, PROMPTS, guided=True)
        assert {len(path.weights) for path in wide.backend.policy.paths if path} == {0}
    assert off(found, folded(wide, sets, PROMPTS, guided=True)).max() < 1e-12


def test_ranks_beyond_the_text_are_composed(wide: ErasedPipeline) -> None:
    shifts = []
    for i, concept in enumerate(NAMES.values()):
        shift = shift_of("site", wide, concept, i)
        wide_map = torch.randn(20, 64, generator=torch.Generator().manual_seed(i))
        factors = {s: torch.randn(len(w), 20) / 50 for s, w in wide.sites().items()}
        payload = type(shift.payload)(wide_map, factors)
        shifts.append(sepme.ConceptShift((concept,), payload, (), False, shift.provenance))
    held(wide, *shifts)
    sets = (set(NAMES), {"a"}, set(), {"b", "c", "d"})
    with wide.policies(sets, allow_interference=True):
        paths = wide.backend.policy.paths
        found = noise(wide, PROMPTS, guided=False)
    assert paths[0].weights
    assert not paths[0].factors
    assert not paths[3].weights
    assert off(found, folded(wide, sets, PROMPTS, guided=False)).max() < 1e-12


@pytest.mark.parametrize("guided", [True, False], ids=["guided", "plain"])
def test_several_images_of_a_prompt(wide: ErasedPipeline, guided: bool) -> None:
    held(wide, shift_of("site", wide, OWL), shift_of("text", wide, FIG))
    sets, prompts = ({"a"}, {"b"}), ("owl", "fig")
    with wide.policies(sets, images_per_prompt=2):
        found = noise(wide, prompts, guided=guided, images=2)
    doubled = [prompt for prompt in prompts for _ in range(2)]
    expected = folded(wide, [s for s in sets for _ in range(2)], doubled, guided=guided)
    assert off(found, expected).max() < 1e-12


def test_a_batch_that_does_not_fit_is_refused(tiny_model: ErasedPipeline) -> None:
    held(tiny_model, shift_of("site", tiny_model, OWL))
    with tiny_model.policies([{"a"}, set()]):
        with pytest.raises(BackendError, match=r"2 prompts with 1 images.* but the U-Net got 3"):
            noise(tiny_model, ("owl", "fig", "jar"), guided=False)
        with pytest.raises(BackendError, match="not two equal halves"):
            noise(tiny_model, ("owl", "fig"), guided=False, images=2)
        assert noise(tiny_model, ("owl", "fig"), guided=True).shape[0] == 4


@pytest.mark.parametrize("in_force", [(), ("a",), ("b",), ("a", "b", "elsewhere")])
def test_no_weight_is_written(tiny_model: ErasedPipeline, in_force) -> None:
    """Whatever the ledger has folded into the weights does not act, and comes back."""
    elsewhere = sepme.Concept("elsewhere", ("c",))
    shifts = {
        "a": shift_of("site", tiny_model, OWL),
        "b": shift_of("text", tiny_model, FIG),
        "elsewhere": shift_of("elsewhere", tiny_model, elsewhere),
    }
    pristine, unet = noise(tiny_model, PROMPTS, guided=True), tiny_model.pipeline.unet
    held(tiny_model, *shifts.values())
    plain = policed(tiny_model, guided=True)
    tiny_model.erase(*(shifts[name] for name in in_force), allow_interference=True)
    parameters = dict(unet.named_parameters())
    values = {name: p.clone() for name, p in parameters.items()}
    pointers = {name: p.data_ptr() for name, p in parameters.items()}
    live, before = noise(tiny_model, PROMPTS, guided=True), tiny_model.backend.live_fingerprint()
    assert torch.equal(live, pristine) is (not in_force)
    tiny_model.erase(*(shifts[name] for name in in_force), strength=0.5, allow_interference=True)
    assert torch.equal(policed(tiny_model, guided=True), plain)
    tiny_model.erase(*(shifts[name] for name in in_force), allow_interference=True)
    after = dict(unet.named_parameters())
    assert all(after[name] is parameters[name] for name in parameters)
    assert all(after[name].data_ptr() == pointers[name] for name in parameters)
    assert all(torch.equal(after[name], value) for name, value in values.items())
    assert torch.equal(noise(tiny_model, PROMPTS, guided=True), live)
    assert tiny_model.backend.live_fingerprint() == before
    assert hooks(tiny_model) == 0


def test_guards_of_the_ledger_do_not_act_inside(tiny_model: ErasedPipeline) -> None:
    pristine = noise(tiny_model, PROMPTS, guided=True)
    guard = shift_of("bottleneck", tiny_model, OWL)
    tiny_model.erase(guard)
    count, live = hooks(tiny_model), noise(tiny_model, PROMPTS, guided=True)
    assert not torch.equal(live, pristine)
    found = policed(tiny_model, ({"a"}, set(), {"a"}, set()), guided=True)
    assert torch.equal(found[1::4], pristine[1::4])
    assert off(found, live)[0::4].max() < 1e-5
    assert hooks(tiny_model) == count
    assert torch.equal(noise(tiny_model, PROMPTS, guided=True), live)


def test_an_exception_leaves_no_trace(tiny_model: ErasedPipeline) -> None:
    tiny_model.erase(shift_of("site", tiny_model, OWL))
    before, live = tiny_model.backend.live_fingerprint(), noise(tiny_model, PROMPTS, guided=True)

    def failing() -> None:
        with tiny_model.policies(({"a"},) * 4):
            assert hooks(tiny_model) > 0  # inverse check: they were there
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failing()
    assert hooks(tiny_model) == 0
    assert tiny_model.backend.policy is None
    assert tiny_model.backend.live_fingerprint() == before
    assert torch.equal(noise(tiny_model, PROMPTS, guided=True), live)


def test_a_stranger_changes_nothing(tiny_model: ErasedPipeline) -> None:
    from sepme.core.policy import Policy
    from sepme.core.side_path import SidePath

    tiny_model.erase(shift_of("bottleneck", tiny_model, OWL))
    count = hooks(tiny_model)
    stranger = Policy((SidePath(guards=((Doubling(tiny_model, "to_w"), 1.0),)),))
    with pytest.raises(BaseMismatch, match="to_w"), tiny_model.backend.policed(stranger):
        pass
    assert hooks(tiny_model) == count


def test_policies_nest(tiny_model: ErasedPipeline) -> None:
    held(tiny_model, shift_of("site", tiny_model, OWL), shift_of("text", tiny_model, FIG))
    outer = policed(tiny_model, guided=False)
    with tiny_model.policies(SETS):
        with tiny_model.policies(SETS[::-1]):
            assert not torch.equal(noise(tiny_model, PROMPTS, guided=False), outer)
        assert torch.equal(noise(tiny_model, PROMPTS, guided=False), outer)


def test_the_pristine_model_can_be_asked_inside(tiny_model: ErasedPipeline) -> None:
    """A fit or a teacher inside the block sees no policy, and the block goes on afterwards."""
    held(tiny_model, shift_of("site", tiny_model, OWL))
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    given = (latents, torch.tensor([500]), tiny_model.encode(["owl"]))
    pristine, drawn = tiny_model.predict_noise(*given), tiny_model.draw_latents(["owl"], seeds=[0])
    tiny_model.erase(shift_of("site", tiny_model, OWL))
    with tiny_model.policies(({"a"},) * 4):
        found = noise(tiny_model, PROMPTS, guided=False)
        assert torch.equal(tiny_model.predict_noise(*given), pristine)
        assert torch.equal(tiny_model.draw_latents(["owl"], seeds=[0]), drawn)
        assert torch.equal(noise(tiny_model, PROMPTS, guided=False), found)
    assert not torch.equal(found, noise(ErasedPipeline(tiny_model.backend), PROMPTS, guided=False))


def test_gradients_pass_through(tiny_model: ErasedPipeline) -> None:
    held(tiny_model, shift_of("site", tiny_model, OWL), shift_of("text", tiny_model, FIG))
    unet, rows = tiny_model.pipeline.unet, tiny_model.encode(PROMPTS).requires_grad_()
    with tiny_model.policies(SETS):
        unet(torch.ones(4, 4, 8, 8), 500, rows).sample.square().sum().backward()
    assert rows.grad.abs().flatten(1).amax(1).min() > 0


@pytest.mark.parametrize("kind", ["site", "text", "text of values"])
def test_sdxl(xl_model: ErasedPipeline, kind: str) -> None:
    """Two text encoders change nothing: the hooks see the embeddings the U-Net reads."""
    held(xl_model, shift_of(kind, xl_model, OWL))
    draw = {"seeds": [0, 1], "steps": 2}
    both = xl_model.generate(["owl", "owl"], erased=[{"a"}, set()], **draw)
    plain = xl_model.generate(["owl", "owl"], **draw)
    xl_model.erase(xl_model.shift("a"), strength=0.5)
    gone = xl_model.generate(["owl", "owl"], **draw)
    from tests.tiny import pixels

    both, plain, gone = (pixels(images) for images in (both, plain, gone))
    assert torch.equal(both[1], plain[1])
    assert (both[0] - gone[0]).abs().max() <= 1
    assert not torch.equal(both[0], plain[0])
