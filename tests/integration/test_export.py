"""Exports load in diffusers' own loaders and do there what they do here."""

import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

import sepme
from sepme import demo
from sepme.cli import main
from sepme.core.dense_shift import DenseShift
from sepme.methods.uce import UCE
from tests.tiny import build_tiny, concepts_of, null_space_shifts

TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=["tiny", "demo"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers directory: SD 1.x at toy size, and the demo model."""
    path = tmp_path_factory.mktemp("model") / request.param
    if request.param == "tiny":
        return build_tiny(path)
    shutil.copytree(demo.weights(), path)
    return path


@pytest.fixture
def erased(folder: Path, tmp_path: Path) -> tuple[sepme.ErasedPipeline, Path]:
    """Three concepts erased, one at half strength, one restored; and the ledger's folder."""
    model = sepme.load(folder)
    shifts = null_space_shifts(model, concepts_of(model, 3))
    model.erase(*shifts[:2])
    model.erase(shifts[2], strength=0.5)
    model.restore(shifts[0].name)
    model.save(tmp_path / "ledger")
    return model, tmp_path / "ledger"


def export(ledger: Path, out: Path, *words: str) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["export", "--ledger", str(ledger), "--out", str(out), "-q", *words])
    assert not ending.value.code


def noise(unet: Any, embeds: torch.Tensor) -> torch.Tensor:
    size, channels = unet.config.sample_size, unet.config.in_channels
    draw = torch.Generator().manual_seed(3)
    latents = torch.randn(len(embeds), channels, size, size, generator=draw)
    with torch.no_grad():
        return unet(latents, torch.tensor(500), encoder_hidden_states=embeds).sample


def fresh(folder: Path) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("format", ["diffusers-lora", "kohya"])
def test_lora_in_diffusers(folder: Path, erased, tmp_path: Path, format: str) -> None:
    model, ledger = erased
    export(ledger, tmp_path / "lora", "--format", format)
    embeds = model.encode([concept.prompts[0] for concept in model.known])
    wanted = noise(model.pipeline.unet, embeds)
    pipeline = fresh(folder)
    plain = noise(pipeline.unet, embeds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline.load_lora_weights(
            str(tmp_path / "lora"), weight_name="pytorch_lora_weights.safetensors"
        )
    assert (noise(pipeline.unet, embeds) - wanted).abs().max() <= TOLERANCE
    assert (plain - wanted).abs().max() > 100 * TOLERANCE, "the inverse: without it they differ"
    pipeline.unload_lora_weights()
    assert torch.equal(noise(pipeline.unet, embeds), plain)


def test_lora_of_one_concept(folder: Path, erased, tmp_path: Path) -> None:
    model, ledger = erased
    name = model.erased[0]
    export(ledger, tmp_path / "one.safetensors", "--concept", name)
    others = [other for other in model.erased if other != name]
    embeds = model.encode([""] + [concept.prompts[0] for concept in model.known])
    with model.restored(*others):
        wanted = noise(model.pipeline.unet, embeds)
    assert (noise(model.pipeline.unet, embeds) - wanted).abs().max() > 100 * TOLERANCE
    pipeline = fresh(folder)
    pipeline.load_lora_weights(str(tmp_path), weight_name="one.safetensors")
    assert (noise(pipeline.unet, embeds) - wanted).abs().max() <= TOLERANCE


@pytest.fixture
def dense(folder: Path, tmp_path: Path) -> tuple[sepme.ErasedPipeline, Path]:
    """A concept erased by a change of every number of its sites; and the ledger's folder."""
    model = sepme.load(folder)
    (shift,) = null_space_shifts(model, concepts_of(model, 1))
    full = {
        site: shift.payload.delta(site, weight).float() for site, weight in model.sites().items()
    }
    payload = DenseShift(full)
    model.erase(replace(shift, payload=payload, separable=False, decoupled_from=()))
    model.save(tmp_path / "ledger")
    return model, tmp_path / "ledger"


def test_a_dense_shift_goes_into_a_checkpoint(folder: Path, dense, tmp_path: Path) -> None:
    model, ledger = dense
    export(ledger, tmp_path / "merged", "--format", "checkpoint")
    assert not differ(model, fresh(tmp_path / "merged"), torch.equal)
    assert differ(model, fresh(folder), torch.equal), "the inverse: the base differs"


def test_a_dense_shift_is_no_lora(dense, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    _, ledger = dense
    out = tmp_path / "lora.safetensors"
    with pytest.raises(SystemExit) as ending:
        main(["export", "--ledger", str(ledger), "--out", str(out), "-q"])
    assert ending.value.code == 1
    assert "Export a checkpoint instead" in capsys.readouterr().err
    assert not out.exists()


def differ(model: sepme.ErasedPipeline, other: Any, same: Callable[[Any, Any], bool]) -> bool:
    mine, theirs = model.pipeline.unet.state_dict(), other.unet.state_dict()
    return not (mine.keys() == theirs.keys() and all(same(mine[k], theirs[k]) for k in mine))


def test_checkpoint_in_diffusers(folder: Path, erased, tmp_path: Path) -> None:
    model, ledger = erased
    export(ledger, tmp_path / "merged", "--format", "checkpoint")
    loaded = fresh(tmp_path / "merged")
    assert not differ(model, loaded, torch.equal)
    assert differ(model, fresh(folder), torch.equal), "the inverse: the base differs"
    prompt = model.known[-1].prompts[0]
    seeds = {"num_inference_steps": 2, "output_type": "np", "guidance_scale": 2.0}
    images = [
        pipeline([prompt], generator=[torch.Generator().manual_seed(0)], **seeds).images
        for pipeline in (loaded, model.pipeline)
    ]
    assert images[0].shape == images[1].shape
    again = sepme.load(tmp_path / "merged")
    assert again.backend.sidecar.guidance_scale == model.backend.sidecar.guidance_scale
    text = (tmp_path / "merged" / "README.md").read_text()
    assert all(name in text for name in model.erased)
    assert "suppresses generation" in text


def test_a_text_map_in_diffusers(folder: Path, tmp_path: Path) -> None:
    model = sepme.load(folder)
    shift = UCE().fit(model, concepts_of(model, 1)[0])
    model.erase(shift)
    model.save(tmp_path / "ledger")
    export(tmp_path / "ledger", tmp_path / "one.safetensors")
    export(tmp_path / "ledger", tmp_path / "merged", "--format", "checkpoint")
    embeds = model.encode(["", shift.concepts[0].prompts[0]])
    wanted = noise(model.pipeline.unet, embeds)
    pipeline = fresh(folder)
    assert (noise(pipeline.unet, embeds) - wanted).abs().max() > 100 * TOLERANCE, "the inverse"
    pipeline.load_lora_weights(str(tmp_path), weight_name="one.safetensors")
    assert (noise(pipeline.unet, embeds) - wanted).abs().max() <= TOLERANCE
    merged = fresh(tmp_path / "merged")
    assert not differ(model, merged, torch.equal)
    assert torch.equal(noise(merged.unet, embeds), wanted)
