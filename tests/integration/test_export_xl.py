"""Exports of an SDXL model load in diffusers' own loaders and do there what they do here."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline
from safetensors import safe_open

import sepme
from sepme.cli import main
from sepme.core.method import Method
from sepme.core.payload import SiteShift
from sepme.io.ledger_dir import LedgerDir
from tests.conformance.cases import CASES
from tests.shifts import BASE, make_shift
from tests.tiny import TINY_CONCEPTS

TOLERANCE = 1e-5
TARGET = TINY_CONCEPTS[0]


@pytest.fixture(params=["sepme", "uce"])
def method(request: pytest.FixtureRequest) -> Method:
    """A method with a low-rank shift for each site, and one with a map of text space."""
    return CASES[request.param]


@pytest.fixture
def erased(method: Method, xl_folder: Path, tmp_path: Path) -> sepme.ErasedPipeline:
    """A concept erased, saved in ``tmp_path / "ledger"``."""
    model = sepme.load(xl_folder)
    model.erase(method.fit(model, TARGET))
    model.save(tmp_path / "ledger")
    return model


def export(folder: Path, out: Path, format: str) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["export", "--ledger", str(folder), "--out", str(out), "--format", format, "-q"])
    assert not ending.value.code


def latents(pipeline: Any) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    draw = torch.Generator().manual_seed(3)
    options = {"num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "latent"}
    return pipeline(TARGET.prompts[0], generator=draw, **options).images


@pytest.mark.parametrize("format", ["diffusers-lora", "kohya"])
def test_lora_in_diffusers(erased, xl_folder: Path, tmp_path: Path, format: str) -> None:
    export(tmp_path / "ledger", tmp_path / "one.safetensors", format)
    pipeline = StableDiffusionXLPipeline.from_pretrained(xl_folder)
    pipeline.scheduler = erased.pipeline.scheduler
    plain, wanted = latents(pipeline), latents(erased.pipeline)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline.load_lora_weights(str(tmp_path), weight_name="one.safetensors")
    assert (latents(pipeline) - wanted).abs().max() <= TOLERANCE
    assert (plain - wanted).abs().max() > 100 * TOLERANCE, "the inverse: without it they differ"
    pipeline.unload_lora_weights()
    assert torch.equal(latents(pipeline), plain)


def test_checkpoint_in_diffusers(erased, xl_folder: Path, tmp_path: Path) -> None:
    export(tmp_path / "ledger", tmp_path / "merged", "checkpoint")
    merged = DiffusionPipeline.from_pretrained(tmp_path / "merged")
    assert type(merged) is StableDiffusionXLPipeline
    ours, theirs = erased.pipeline.unet.state_dict(), merged.unet.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(latents(merged), latents(erased.pipeline))
    reloaded = sepme.load(tmp_path / "merged")
    assert reloaded.fingerprint != erased.fingerprint  # another base: the concept is gone from it
    assert sepme.load(xl_folder).fingerprint == erased.fingerprint


@pytest.mark.parametrize(
    ("width", "version", "layer"), [(768, "sd_v1", "1"), (2048, "sdxl_base_v1-0", "2")]
)
def test_metadata_tells_the_family_by_the_width_of_the_text(
    tmp_path: Path, width: int, version: str, layer: str
) -> None:
    payload = SiteShift(torch.ones(1, width), {"mid.attn2.to_k": torch.ones(4, 1)})
    ledger = LedgerDir.create(tmp_path / "ledger", base=BASE, model="nowhere")
    ledger.erase(replace(make_shift("owl"), payload=payload))
    export(tmp_path / "ledger", tmp_path / "a.safetensors", "kohya")
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["ss_base_model_version"] == version
    assert metadata["modelspec.encoder_layer"] == layer
