"""What layers read, early in a drawing."""

import pytest
import torch

from sepme.errors import BackendError
from tests.tiny import TINY_CONCEPTS, null_space_shift

FF = r".*\.ff\.net\.2"
WIDE = {"seeds": range(2), "steps": 4, "first": 2}


def by_hand(model, prompts, site: str, evaluations: int) -> torch.Tensor:
    """Column norms of everything a layer reads in a whole drawing, step by step."""
    seen = []
    layer = model.pipeline.unet.get_submodule(site)
    hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(0, 1)))
    model.generate(prompts, seeds=range(len(prompts)), steps=evaluations)
    hook.remove()
    rows = [step.double() / step.double().norm(dim=1, keepdim=True) for step in seen]
    return torch.stack([step.square().mean(0).sqrt() for step in rows])


def test_agrees_with_a_whole_drawing(tiny_model) -> None:
    found = tiny_model.input_norms(FF, ["owl", "fig"], **WIDE)
    assert set(found) == set(tiny_model.sites(FF))
    for site, norms in found.items():
        whole = by_hand(tiny_model, ["owl", "fig"], site, 4)
        assert len(whole) == 4
        assert torch.allclose(norms, whole[:2], atol=1e-6)
        assert torch.allclose(norms.square().sum(1), torch.ones(2).double())
        assert not torch.allclose(norms[0], whole[1], atol=1e-4)  # inverse check: steps differ


def test_several_batches_count_as_one(tiny_model, monkeypatch) -> None:
    whole = tiny_model.input_norms(FF, ["owl", "fig"], **WIDE)
    monkeypatch.setattr("sepme.backends.stable_diffusion.IMAGES_AT_ONCE", 1)
    parts = tiny_model.input_norms(FF, ["owl", "fig"], **WIDE)
    assert all(torch.allclose(parts[site], norms, atol=1e-5) for site, norms in whole.items())


def test_records_the_pristine_model_and_leaves_it_alone(tiny_model) -> None:
    before = tiny_model.input_norms(FF, ["owl", "fig"], **WIDE)
    tiny_model.erase(null_space_shift(tiny_model, TINY_CONCEPTS[0], size=3.0))
    after = tiny_model.input_norms(FF, ["owl", "fig"], **WIDE)
    assert all(torch.equal(after[site], norms) for site, norms in before.items())
    assert not any(m._forward_pre_hooks for m in tiny_model.pipeline.unet.modules())
    assert not any(m._forward_hooks for m in tiny_model.pipeline.unet.modules())
    image = tiny_model.generate(["owl"], seeds=[0], steps=3)[0]
    assert image.tobytes() != tiny_model.generate(["owl"], seeds=[0], steps=1)[0].tobytes()


def test_only_linear_layers_are_recorded(tiny_model) -> None:
    with pytest.raises(BackendError, match="only what linear layers read"):
        tiny_model.input_norms("conv_in", ["owl", "fig"], **WIDE)
