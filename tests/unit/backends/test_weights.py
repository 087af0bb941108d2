"""Weights other than the text sites: changed, composed and given back."""

import numpy as np
import pytest
import torch

import sepme
from sepme.bench.gallery import Gallery
from sepme.bench.store import Store
from sepme.core.compose import sites_of
from sepme.core.concept import Concept
from sepme.core.dense_shift import DenseShift
from sepme.core.shift import ConceptShift, Provenance
from sepme.errors import BackendError
from sepme.pipeline import ErasedPipeline
from sepme.verify.cases import Case
from sepme.verify.exact import erased_again, restore_all, state_checks
from sepme.verify.studio import Studio
from tests.tiny import TINY_CONCEPTS, noise_of, null_space_shift

OWL, FIG = TINY_CONCEPTS[:2]
CASE = Case("an owl", 1)
ELSEWHERE = r".*(ff\.net\.2|attn2\.to_q|conv_in)"


def shift_elsewhere(model: ErasedPipeline, concept: Concept, *, seed: int = 0) -> ConceptShift:
    """A random change of weights that do not read the text, convolutions among them."""
    draw = torch.Generator().manual_seed(seed)
    changes = {
        site: 0.3 * weight.std() * torch.randn(weight.shape, generator=draw)
        for site, weight in model.sites(ELSEWHERE).items()
    }
    return ConceptShift(
        concepts=(concept,),
        payload=DenseShift(changes),
        decoupled_from=(),
        separable=False,
        provenance=Provenance(model.fingerprint, "esd", {}, seed, {"sepme": "0"}),
    )


def every_weight(model: ErasedPipeline) -> dict[str, torch.Tensor]:
    return {name: w.clone() for name, w in model.pipeline.unet.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_any_linear_or_convolution_weight_is_a_site(tiny_model) -> None:
    sites = tiny_model.sites(".*")
    assert {weight.ndim for weight in sites.values()} == {2, 4}
    weights = tiny_model.pipeline.unet.state_dict()
    assert all(torch.equal(weights[f"{site}.weight"], w) for site, w in sites.items())
    assert set(tiny_model.sites()) < set(sites)
    assert "conv_norm_out" not in sites


def test_only_what_is_changed_is_copied(tiny_model) -> None:
    text, live = set(tiny_model.sites()), tiny_model.pipeline.unet.state_dict()
    untouched = tiny_model.sites(".*")
    own = {s for s, w in untouched.items() if w.data_ptr() == live[f"{s}.weight"].data_ptr()}
    assert own == set(untouched) - text
    tiny_model.backend.write(untouched)
    assert set(tiny_model.backend.originals()) == text  # writing what is there copies nothing
    shift = shift_elsewhere(tiny_model, OWL)
    tiny_model.erase(shift)
    assert set(tiny_model.backend.originals()) == text | set(shift.payload.sites)
    tiny_model.restore(OWL.name)
    assert set(tiny_model.backend.originals()) == text  # inverse check: copies go again


def test_restored_means_every_weight(tiny_model) -> None:
    before, fingerprint = every_weight(tiny_model), tiny_model.fingerprint
    one, two = shift_elsewhere(tiny_model, OWL), shift_elsewhere(tiny_model, FIG, seed=1)
    tiny_model.erase(one)
    alone = every_weight(tiny_model)
    changed = {f"{site}.weight" for site in one.payload.sites}
    assert {n for n, w in before.items() if not torch.equal(w, alone[n])} == changed
    tiny_model.erase(two, null_space_shift(tiny_model, TINY_CONCEPTS[2]), allow_interference=True)
    tiny_model.restore(FIG.name, TINY_CONCEPTS[2].name)
    assert equal(every_weight(tiny_model), alone)
    tiny_model.restore(OWL.name)
    assert equal(every_weight(tiny_model), before)
    assert tiny_model.fingerprint == fingerprint
    assert not equal(alone, before)  # inverse check: the comparison sees an erased concept


def test_pristine_answers_are_unmoved(tiny_model) -> None:
    before, shift = every_weight(tiny_model), shift_elsewhere(tiny_model, OWL)
    sites = {site: weight.clone() for site, weight in tiny_model.sites(".*").items()}
    noise = noise_of(tiny_model, OWL.prompts, [])
    latents = tiny_model.draw_latents(OWL.prompts, seeds=[0])
    tiny_model.erase(shift)
    live = every_weight(tiny_model)
    assert equal(dict(tiny_model.sites(".*")), sites)
    assert torch.allclose(noise_of(tiny_model, OWL.prompts, []), noise, atol=1e-6)
    assert torch.equal(tiny_model.draw_latents(OWL.prompts, seeds=[0]), latents)
    with tiny_model.backend.pristine():
        assert equal(every_weight(tiny_model), before)
    assert equal(every_weight(tiny_model), live)
    assert not torch.allclose(noise_of(tiny_model, OWL.prompts, [shift]), noise, atol=1e-3)


def test_deltas_are_what_erasing_does(tiny_model) -> None:
    shift = shift_elsewhere(tiny_model, OWL)
    rows, x, t = tiny_model.encode(OWL.prompts), torch.ones(1, 4, 8, 8), torch.tensor([500])
    deltas = {
        site: change.clone().requires_grad_() for site, change in shift.payload.changes.items()
    }
    predicted = tiny_model.predict_noise(x, t, rows, deltas=deltas)
    predicted.square().mean().backward()
    assert all(float(delta.grad.abs().max()) > 0 for delta in deltas.values())
    tiny_model.erase(shift)
    with torch.no_grad():
        live = tiny_model.pipeline.unet(x, t, rows).sample
    assert torch.allclose(predicted, live, atol=1e-5)


def test_an_interrupt_gives_new_sites_back(tiny_model, monkeypatch) -> None:
    before, shift = every_weight(tiny_model), shift_elsewhere(tiny_model, OWL)
    write, calls = type(tiny_model.backend).write, []

    def interrupted(backend, weights) -> None:
        write(backend, weights)
        calls.append(len(weights))
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(type(tiny_model.backend), "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tiny_model.erase(shift)
    assert calls[0] > len(tiny_model.sites())
    assert equal(every_weight(tiny_model), before)
    assert not tiny_model.erased


def test_unknown_sites_are_refused(tiny_model) -> None:
    with pytest.raises(BackendError, match="no linear or convolution layer"):
        tiny_model.backend.write({"no.such": torch.zeros(1, 1)})
    shift = shift_elsewhere(tiny_model, OWL)
    strange = DenseShift({"no.such": torch.zeros(1, 1)})
    object.__setattr__(shift, "payload", strange)
    with pytest.raises(sepme.errors.BaseMismatch, match=r"no\.such"):
        tiny_model.erase(shift)
    assert "no.such" not in sites_of(tiny_model, [shift])


def test_verify_sees_all_changed_sites(tiny_model) -> None:
    shift = shift_elsewhere(tiny_model, OWL)
    tiny_model.erase(shift)
    erased = every_weight(tiny_model)
    studio = Studio(tiny_model, [], steps=1, progress=False)
    assert all(check.passed for check in state_checks(tiny_model))
    assert not [check for check in restore_all(tiny_model, studio, []) if not check.passed]
    assert equal(every_weight(tiny_model), erased)
    live = tiny_model.backend.live()[shift.payload.sites[0]]
    kept = live.clone()
    live.add_(1)
    assert not all(check.passed for check in state_checks(tiny_model))  # inverse check
    live.copy_(kept)
    tiny_model.restore(OWL.name)
    before = every_weight(tiny_model)
    with erased_again(tiny_model, OWL.name):
        assert equal(every_weight(tiny_model), erased)
    assert equal(every_weight(tiny_model), before)


def test_images_are_kept_by_all_changed_sites(demo_model, tmp_path, monkeypatch) -> None:
    gallery = Gallery(demo_model, Store(tmp_path), steps=1, progress=False)
    before = gallery.shoot([CASE])[0].pixels
    demo_model.erase(shift_elsewhere(demo_model, Concept("owl", ("owl",))))
    assert not np.array_equal(gallery.shoot([CASE])[0].pixels, before)
    demo_model.restore("owl")
    monkeypatch.setattr(Gallery, "_pixels", None)  # nothing is drawn again
    assert np.array_equal(gallery.shoot([CASE])[0].pixels, before)
