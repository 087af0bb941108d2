"""What is kept is found again in the same circumstances, and in no others."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from sepme.bench import fits
from sepme.bench.cells import Part
from sepme.bench.elsewhere import torch_threads
from sepme.bench.fits import key_of
from sepme.bench.store import Store
from sepme.pipeline import ErasedPipeline, load
from tests.tiny import TINY_CONCEPTS
from tests.unit.bench.nudge import Nudge

A, B = TINY_CONCEPTS[:2]


@dataclass(frozen=True)
class Nothing:
    """A benchmark of nothing."""

    name = "nothing"

    def run(self, *_, **__) -> None:
        """Do nothing."""


def kept_for(model: ErasedPipeline, store: Store) -> Callable[[ErasedPipeline], tuple[bool, bool]]:
    """Whether a fit and a part of a benchmark, made on one model, are found for another."""
    part = Part(Nothing())
    part.make(model, store)
    key = key_of(model, Nudge(), [A], 0, [B])
    return lambda other: (key_of(other, Nudge(), [A], 0, [B]) == key, part.done(other, store))


@pytest.fixture
def kept(tmp_path: Path, tiny_model) -> Callable[[ErasedPipeline], tuple[bool, bool]]:
    """`kept_for` the tiny model."""
    return kept_for(tiny_model, Store(tmp_path))


def test_the_same_circumstances(tiny_folder: Path, kept) -> None:
    assert kept(load(tiny_folder, offline=True)) == (True, True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_another_dtype(tmp_path: Path, demo_model, dtype: torch.dtype) -> None:
    other, same = load("demo", dtype=dtype), dtype == torch.float32
    assert other.fingerprint == demo_model.fingerprint
    assert kept_for(demo_model, Store(tmp_path))(other) == (same, same)


def test_another_kind_of_device(tiny_model, kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def on(device: str) -> None:
        monkeypatch.setattr(type(tiny_model.pipeline), "device", torch.device(device))

    on("cpu")
    assert kept(tiny_model) == (True, True)
    on("cuda:0")
    assert kept(tiny_model) == (False, False)
    first = key_of(tiny_model, Nudge(), [A], 0, [B])
    on("cuda:1")  # another worker's device of the same kind
    assert key_of(tiny_model, Nudge(), [A], 0, [B]) == first


@pytest.mark.parametrize("package", ["sepme", "torch", "diffusers"])
def test_another_version(tiny_model, kept, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    here = fits.installed
    monkeypatch.setattr(fits, "installed", lambda *names: {**here(*names), package: "0"})
    assert kept(tiny_model) == (False, False)


def test_another_number_of_threads(tiny_model, kept) -> None:
    with torch_threads(torch.get_num_threads() + 1):
        assert kept(tiny_model) == (False, False)
    assert kept(tiny_model) == (True, True)
