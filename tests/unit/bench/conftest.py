"""Small batches and a method without fits."""

import functools
from collections.abc import Callable

import pytest

from sepme import bench
from sepme.bench import benchmark
from sepme.pipeline import ErasedPipeline
from sepme.verify import cases
from tests.unit.bench.nudge import ALGEBRA, Careless, Nudge, Twice


def in_little(patch: pytest.MonkeyPatch) -> list[str]:
    """Two images a batch in place of eight, and `Nudge` in place of fits; what it fits is told."""
    for module in (benchmark, cases):
        patch.setattr(module, "BATCH", 2)
    patch.setattr(benchmark, "METHODS", {"sepme": Nudge, "careless": Careless})
    patch.setattr(Nudge, "fits", [])
    return Nudge.fits


@pytest.fixture
def nudging(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every method be `Nudge`; what it fits is told."""
    return in_little(monkeypatch)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two images a batch in place of eight: what is tested here holds for any size."""
    for module in (benchmark, cases):
        monkeypatch.setattr(module, "BATCH", 2)


@pytest.fixture
def judged_tiny(tiny_model: ErasedPipeline) -> ErasedPipeline:
    """The tiny model with a detector that has the demo's labels."""
    return ErasedPipeline(tiny_model.backend, detector=Twice())


@pytest.fixture(scope="module")
def algebra_of(_loaded, tmp_path_factory) -> Callable[[str], bench.Report]:
    """The algebra's report for a method, run once for all tests of a module."""

    @functools.cache
    def run(method: str) -> bench.Report:
        model = ErasedPipeline(_loaded("tiny").backend, detector=Twice())
        with pytest.MonkeyPatch.context() as patch:
            in_little(patch)
            return bench.run(
                "algebra",
                model=model,
                cache=tmp_path_factory.mktemp("cache"),
                progress=False,
                method=method,
                **ALGEBRA,
            )

    return run
