"""Fixtures shared by all tests."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sepme.pipeline import ErasedPipeline

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach the network; set before transformers loads


def missing(component: str) -> None:
    """Skip the running test, or fail it when ``CI=true``: there, nothing may be missing."""
    reason = f"needs {component}"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{reason}, and CI=true allows no skips", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def require() -> Callable[[bool, str], None]:
    """``require(available, "the demo weights")``: go on if available, else skip (in CI: fail)."""

    def check(available: bool, component: str) -> None:
        if not available:
            missing(component)

    return check


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight SD 1.x pipeline of toy size, as a diffusers directory."""
    from tests.tiny import build_tiny

    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def xl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight SDXL pipeline of toy size, as a diffusers directory."""
    from tests.tiny_xl import build_tiny_xl

    return build_tiny_xl(tmp_path_factory.mktemp("tiny-xl"))


@pytest.fixture(scope="session")
def velocity_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline of toy size as a velocity model (SD 2.x), as a diffusers directory."""
    from tests.tiny import build_tiny

    return build_tiny(tmp_path_factory.mktemp("tiny-v"), prediction_type="v_prediction")


@pytest.fixture(scope="session")
def _loaded(
    tiny_folder: Path, velocity_folder: Path, xl_folder: Path
) -> Callable[[str], ErasedPipeline]:
    import sepme

    folders = {"tiny": tiny_folder, "tiny-v": velocity_folder, "tiny-xl": xl_folder}
    return functools.cache(lambda name: sepme.load(folders.get(name, name), offline=True))


@pytest.fixture
def tiny_model(_loaded: Callable[[str], ErasedPipeline]) -> Iterator[ErasedPipeline]:
    """The tiny pipeline with nothing erased."""
    yield from _fresh(_loaded("tiny"))


@pytest.fixture
def xl_model(_loaded: Callable[[str], ErasedPipeline]) -> Iterator[ErasedPipeline]:
    """The tiny SDXL pipeline with nothing erased."""
    yield from _fresh(_loaded("tiny-xl"))


@pytest.fixture(params=["tiny-v", "tiny-xl"])
def family(
    request: pytest.FixtureRequest, _loaded: Callable[[str], ErasedPipeline]
) -> Iterator[ErasedPipeline]:
    """A tiny pipeline of each family but SD 1.x, with nothing erased."""
    yield from _fresh(_loaded(request.param))


@pytest.fixture
def demo_model(_loaded: Callable[[str], ErasedPipeline]) -> Iterator[ErasedPipeline]:
    """The demo pipeline with nothing erased."""
    yield from _fresh(_loaded("demo"))


@pytest.fixture(params=["tiny", "demo"])
def model(
    request: pytest.FixtureRequest, _loaded: Callable[[str], ErasedPipeline]
) -> Iterator[ErasedPipeline]:
    """Each of the two pipelines, with nothing erased."""
    yield from _fresh(_loaded(request.param))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every prompt that a text encoder reads from here on."""
    from sepme.backends import StableDiffusion

    prompts: list[str] = []
    encode = StableDiffusion.encode
    monkeypatch.setattr(
        StableDiffusion,
        "encode",
        lambda self, given: (prompts.extend(given), encode(self, given))[1],
    )
    return prompts


def _fresh(loaded: ErasedPipeline) -> Iterator[ErasedPipeline]:
    """The same weights under a ledger of their own; loading again would only take longer."""
    from sepme.pipeline import ErasedPipeline

    yield ErasedPipeline(loaded.backend, source=loaded.source, detector=loaded.detector)
    loaded.backend.write(loaded.backend.originals())
    loaded.backend.guard(())
