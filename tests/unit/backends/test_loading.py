import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

import sepme
from sepme.backends import load_backend
from sepme.errors import BackendError
from tests.tiny import build_tiny


def test_loads_a_directory_in_float32_on_the_cpu(tiny_folder) -> None:
    backend = load_backend(tiny_folder)
    weight = next(iter(backend.sites().values()))
    assert (weight.dtype, weight.device.type) == (torch.float32, "cpu")
    assert [concept.name for concept in backend.known] == ["blank", "mark", "seal"]
    assert len(backend.generate(["owl"], seeds=[0], steps=1)) == 1


def test_the_demo_goes_the_same_way(demo_model) -> None:
    assert type(demo_model.backend) is type(load_backend(sepme.demo.weights()))
    assert demo_model.detector is not None
    assert {weight.dtype for weight in demo_model.sites().values()} == {torch.float32}


def test_a_live_pipeline_stays_itself_and_working(tiny_folder) -> None:
    live = StableDiffusionPipeline.from_pretrained(tiny_folder, safety_checker=None)
    live.scheduler = EulerDiscreteScheduler.from_config(live.scheduler.config)
    live.set_progress_bar_config(disable=True)
    scheduler = live.scheduler
    draw = {"num_inference_steps": 2, "output_type": "np"}
    before = live("owl", generator=torch.Generator().manual_seed(0), **draw).images
    model = sepme.load(live)
    assert model.pipeline is live
    assert live.scheduler is scheduler
    after = live("owl", generator=torch.Generator().manual_seed(0), **draw).images
    assert (before == after).all()
    assert model.source == "live"
    assert [concept.name for concept in model.known] == ["blank"]
    assert model.fingerprint == load_backend(tiny_folder).fingerprint


def test_a_dtype_can_be_asked_for(tiny_folder) -> None:
    backend = load_backend(tiny_folder, dtype=torch.float16)
    assert {weight.dtype for weight in backend.sites().values()} == {torch.float16}
    latents, when = torch.randn(1, 4, 8, 8).half(), torch.tensor([10])
    deltas = {site: torch.zeros(w.shape) for site, w in backend.sites().items()}  # float32
    with torch.no_grad():
        plain = backend.predict_noise(latents, when, backend.encode(["owl"]))
        moved = backend.predict_noise(latents, when, backend.encode(["owl"]), deltas=deltas)
    assert plain.dtype == torch.float16
    assert torch.equal(plain, moved)


@pytest.mark.parametrize("source", ["no/such/folder/at/all", "nobody/nothing"])
def test_no_such_model(source: str) -> None:
    with pytest.raises(BackendError, match=source):
        load_backend(source, offline=True)


def test_a_folder_that_is_no_pipeline(tmp_path) -> None:
    with pytest.raises(BackendError, match="cannot load"):
        load_backend(tmp_path)


def test_a_damaged_folder(tiny_folder, tmp_path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_folder, folder)
    (folder / "unet" / "config.json").write_text("{")
    with pytest.raises(BackendError, match="cannot load"):
        load_backend(folder)


@pytest.mark.parametrize("thing", [None, 3, SimpleNamespace(unet=torch.nn.Linear(1, 1))])
def test_something_that_is_no_pipeline(thing) -> None:
    with pytest.raises(BackendError, match="expected a Stable Diffusion pipeline"):
        load_backend(thing)


def test_a_device_that_is_not_there(tiny_folder) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(BackendError, match="cannot move the model to cuda"):
        load_backend(tiny_folder, device="cuda")


def test_loading_says_nothing() -> None:
    code = "import sepme; sepme.load('demo')"
    done = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True)
    assert done.returncode == 0
    ours = [line for line in done.stderr.decode().splitlines() if "ResourceWarning" not in line]
    assert not [line for line in ours if "Warning" in line or "%|" in line or "requires" in line]


def test_the_libraries_settings_come_back(tiny_folder) -> None:
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(lib.get_verbosity(), lib.is_progress_bar_enabled()) for lib in libraries]
    load_backend(tiny_folder)
    with pytest.raises(BackendError):
        load_backend("no/such/folder/at/all", offline=True)
    assert [(lib.get_verbosity(), lib.is_progress_bar_enabled()) for lib in libraries] == before


def test_velocity_models_predict_noise_too(tiny_folder, tmp_path) -> None:
    """The same network read as a velocity model: noise = sqrt(a) v + sqrt(1 - a) x."""
    epsilon = load_backend(tiny_folder)
    velocity = load_backend(build_tiny(tmp_path / "v", prediction_type="v_prediction"))
    latents, when = torch.randn(2, 4, 8, 8), torch.tensor([10, 700])
    with torch.no_grad():
        raw = epsilon.predict_noise(latents, when, epsilon.encode(["owl", "fig"]))
        noise = velocity.predict_noise(latents, when, velocity.encode(["owl", "fig"]))
    alpha = velocity.pipeline.scheduler.alphas_cumprod[when].view(-1, 1, 1, 1)
    assert torch.allclose(noise, alpha.sqrt() * raw + (1 - alpha).sqrt() * latents, atol=1e-5)
    assert not torch.allclose(noise, raw, atol=1e-2)
    with pytest.raises(BackendError, match="predicts 'sample'"):
        load_backend(build_tiny(tmp_path / "x", prediction_type="sample"))
