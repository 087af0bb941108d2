"""Costs on the tiny model: what is told, not how much it is."""

import sys
from pathlib import Path

import pytest

from sepme import bench
from sepme.bench import efficiency

SMALL = {"concepts": ("ink", "cat"), "steps": 1, "fits": 2, "pairs": 6}


def test_every_cost(tmp_path: Path, tiny_model, nudging) -> None:
    report = bench.run("efficiency", model=tiny_model, cache=tmp_path, **SMALL)
    assert nudging == ["ink", "ink", "cat", "cat"]
    told = [(row["metric"], row["stage"], row["concepts"], row["n"]) for row in report.rows]
    each = [
        row
        for name in ("ink", "cat")
        for row in (
            ("bytes", "fit", name, 1),
            ("seconds", "fit", name, 2),
            ("seconds", "restore", name, 6),
        )
    ]
    assert told == [
        *each,
        ("peak_memory_mb", "fit", "all", 1),
        ("seconds", "inference", "original", 6),
        ("seconds", "inference", "erased", 6),
        ("overhead", "inference", "erased", 6),
    ]
    assert all(row["value"] > 0 for row in report.rows)
    overhead = report.rows[-1]
    assert overhead["lo"] <= overhead["value"] <= overhead["hi"]
    assert all((tiny_model.backend.live()[s] == w).all() for s, w in tiny_model.sites().items())


def test_nothing_is_taken_from_the_store(tmp_path: Path, tiny_model, nudging) -> None:
    """Inverse check of resuming: a stored fit has no time."""
    for _ in range(2):
        bench.run("efficiency", model=tiny_model, cache=tmp_path, **SMALL | {"pairs": 1})
    assert len(nudging) == 8


def test_a_slower_erased_model_is_told(tmp_path: Path, tiny_model, nudging, monkeypatch) -> None:
    times = iter([0.0] * 12 + [2.0, 1.0] * 7)  # two concepts' restorations, then pairs
    monkeypatch.setattr(efficiency, "seconds_of", lambda call: next(times))
    report = bench.run("efficiency", model=tiny_model, cache=tmp_path, **SMALL)
    assert report.rows[-1]["value"] == 2.0


def test_memory_is_left_out_where_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 10 < efficiency.peak_memory_mb() < 1e6
    monkeypatch.setitem(sys.modules, "resource", None)
    assert efficiency.peak_memory_mb() is None
