"""A benchmark whose parts were made elsewhere finds everything, and says what it always says."""

from pathlib import Path

import pytest

from sepme import bench
from sepme.bench import elsewhere
from sepme.bench.store import Store
from sepme.errors import BackendError
from sepme.pipeline import ErasedPipeline
from tests.unit.bench.nudge import ALGEBRA
from tests.unit.executors.here import Here

SMALL = {
    "algebra": ALGEBRA,
    "attacks": {"concepts": ("ink", "cat"), "attacks": ("typo",), "examples": 2, "steps": 1},
    "capacity": {
        "methods": ("careless",),
        "sizes": (1, 2),
        "arrive": (2,),
        "restores": 1,
        "images": 2,
        "steps": 1,
    },
    "ladder": {"concepts": ("ink", "cat"), "least": 2, "steps": 1, "neighbours": 1},
    "methods": {
        "methods": ("sepme", "careless"),
        "concepts": ("ink", "fluent", "cat"),
        "least": 2,
        "steps": 1,
    },
    "scenes": {"scenes": (1, 3), "least": 1, "steps": 1},
}
CELLS = {"algebra": 3, "attacks": 2, "capacity": 3, "ladder": 2, "methods": 8, "scenes": 2}
TIMES = {"seconds", "peak_memory_mb", "attack_seconds"}


@pytest.fixture
def sent(judged_tiny, monkeypatch: pytest.MonkeyPatch) -> ErasedPipeline:
    """The judged tiny model as workers would load it."""
    monkeypatch.setattr(elsewhere, "_loaded", lambda *place: judged_tiny)
    return ErasedPipeline(judged_tiny.backend, source="stage", detector=judged_tiny.detector)


def kept(folder: Path) -> set[str]:
    return set(Store(folder).entries())


def figures(report: bench.Report) -> list[dict]:
    return [row for row in report.rows if row["metric"] not in TIMES]


@pytest.mark.parametrize("name", sorted(SMALL))
def test_the_same_figures_from_parts(tmp_path: Path, sent, nudging, name: str) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    executor, again = Here(), Here()
    options = {"model": sent, "progress": False, **SMALL[name]}
    ours = bench.run(name, cache=there, executor=executor, **options)
    assert executor.done == list(range(CELLS[name]))
    with elsewhere.torch_threads(1):
        assert figures(ours) == figures(bench.run(name, cache=here, **options))
    assert kept(here) <= kept(there)
    assert bench.run(name, cache=there, executor=again, **options).rows == ours.rows
    assert again.done == []


@pytest.mark.parametrize("name", sorted(set(SMALL) - {"algebra"}))
def test_parts_leave_nothing_to_make(tmp_path: Path, sent, nudging, name: str) -> None:
    spec, store = bench.specify(name, **SMALL[name]), Store(tmp_path)
    *cells, last = spec.cells()
    for cell in cells:
        cell.make(sent, store)
    assert all(cell.done(sent, store) for cell in cells)
    assert not last.done(sent, store)
    missing = kept(tmp_path)
    last.make(sent, store)
    before = kept(tmp_path)
    spec.run(sent, store, progress=False)
    assert kept(tmp_path) == before > missing


def test_efficiency_stays_here(tmp_path: Path, sent) -> None:
    assert bench.specify("efficiency").cells() == ()


def test_a_live_pipeline_is_refused_first(tmp_path: Path, judged_tiny, nudging) -> None:
    executor = Here()
    with pytest.raises(BackendError, match="live pipeline"):
        bench.run("ladder", model=judged_tiny, cache=tmp_path, executor=executor)
    assert executor.done == nudging == []
