"""``sepme bench``: flags are options, and what a benchmark does not have is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from sepme import bench
from sepme.cli._app import Run
from tests.unit.cli.conftest import Cli

ROW = dict(
    benchmark="ladder", method="sepme", concepts="cat", split="literal", metric="erased_accuracy",
    value=0.25, n=8, lo=0.1, hi=0.6, seeds=[0], rung="name",
)  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Benchmarks run nothing; what they were asked is told."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def run(name: str, *, model, cache, progress, **options) -> bench.Report:
        calls.append((name, options))
        rows = (ROW | {"benchmark": name}, ROW | {"metric": "not in the headline"})
        return bench.Report(rows, {"benchmark": name})

    monkeypatch.setattr(bench, "run", run)
    monkeypatch.setattr(Run, "load", lambda self, model: None)
    return calls


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("ladder", {}),
        ("ladder --concept cat --concept ink --fits 3", {"concepts": ("cat", "ink"), "fits": 3}),
        ("ladder --neighbours 2 --least 8 --steps 5", {"neighbours": 2, "least": 8, "steps": 5}),
        ("algebra --orders 2 --toggles 3 --seed 4", {"orders": 2, "toggles": 3, "seed": 4}),
        ("efficiency --pairs 2 --method uce", {"pairs": 2, "method": "uce"}),
        ("scenes --domain objects --scene 1", {"domain": "objects", "scenes": (1,)}),
    ],
)
def test_flags_are_options(cli: Cli, asked, words: str, options: dict[str, Any]) -> None:
    assert cli("bench", *words.split()).code == 0
    assert asked == [(words.split()[0], options)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("ladder --domain objects", "ladder has no option 'domain'"),
        ("efficiency --least 3", "efficiency has no option 'least'"),
        ("scenes --concept cat", "scenes has no option 'concepts'"),
        ("ladders", "Did you mean 'ladder'"),
    ],
)
def test_others_are_refused_before_anything_loads(cli: Cli, asked, words: str, said: str) -> None:
    assert said in cli("bench", *words.split()).one_error(2)
    assert asked == []


def test_the_headline_is_shown_and_all_rows_are_written(cli: Cli, asked, tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    shown = cli("bench", "ladder", "--out", out).out
    assert "erased accuracy" in shown
    assert "0.100 to 0.600" in shown
    assert "headline" not in shown
    assert len(json.loads(out.read_text())["rows"]) == 2
    assert len(cli("bench", "ladder", "--json").data["rows"]) == 2
