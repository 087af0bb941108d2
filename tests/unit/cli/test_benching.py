"""``sepme bench``: flags are options, and what a benchmark does not have is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from sepme import bench
from sepme.cli._app import Run
from sepme.executors.process import Process
from tests.pages import ENVIRONMENT, method_rows, scene_rows
from tests.unit.cli.conftest import Cli

ROW = dict(
    benchmark="ladder", method="sepme", concepts="cat", split="literal", metric="erased_accuracy",
    value=0.25, n=8, lo=0.1, hi=0.6, seeds=[0], rung="name",
)  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Benchmarks run nothing; what they were asked is told."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def run(name: str, *, model, cache, progress, executor, **options) -> bench.Report:
        calls.append((name, options | ({"executor": executor} if executor.remote else {})))
        more = {"task": "one", "domain": "objects"} if name == "methods" else {}
        rows = (ROW | {"benchmark": name} | more, ROW | {"metric": "not in the headline"} | more)
        return bench.Report(rows, {"benchmark": name})

    monkeypatch.setattr(bench, "run", run)
    monkeypatch.setattr(Run, "load", lambda self, model: None)
    return calls


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("ladder", {}),
        (
            "ladder --concept cat --concept ink --set fits=3",
            {"concepts": ("cat", "ink"), "fits": 3},
        ),
        ("ladder --least 8 --set neighbours=2", {"neighbours": 2, "least": 8}),
        ("algebra --set orders=2 --set toggles=3", {"orders": 2, "toggles": 3}),
        ("efficiency --method uce --set method=esd", {"method": "esd"}),
        ("scenes --domain objects --set scenes=[1,2]", {"domain": "objects", "scenes": [1, 2]}),
        ("attacks --full --set budget=5", {"full": True, "budget": 5}),
        (
            "capacity --method sepme-text --method uce --set sizes=1,2,5",
            {"methods": ("sepme-text", "uce"), "sizes": "1,2,5"},
        ),
        ("ladder --executor process", {"executor": Process()}),
        ("methods", {}),
        (
            "methods --method sepme --method uce --concept cat --least 8",
            {"methods": ("sepme", "uce"), "concepts": ("cat",), "least": 8},
        ),
        ("methods --method all --set templates=train", {"methods": ("all",), "templates": "train"}),
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
        ("scenes --set least", "--set needs NAME=VALUE"),
        ("scenes --set least=[", "no value for 'least'"),
        ("scenes --set least=many", "scenes: least"),
        ("scenes --set scenes=[7]", "scenes"),
        ("scenes --config nowhere.yaml", "cannot be read as YAML"),
        ("scenes --concept cat", "scenes has no option 'concepts'"),
        ("ladder --executor processes", "Did you mean 'process'"),
        ("ladders", "Did you mean 'ladder'"),
        ("ladder --method uce --method esd", "ladder measures one method, got uce, esd"),
        ("methods --set method=uce", "name methods"),
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


def test_methods_are_shown_side_by_side(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    found = bench.Report(tuple(method_rows()), {"benchmark": "methods"})
    monkeypatch.setattr(bench, "run", lambda name, **options: found)
    monkeypatch.setattr(Run, "load", lambda run, model: None)
    shown = " ".join(cli("bench", "methods").out.split())
    for said in ("original", "sepme", "uce", "Kept,", "PSNR,", "Failed"):
        assert said in shown
    assert len(cli("bench", "methods", "--json").data["rows"]) == len(method_rows())


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows from nowhere in place of a run."""

    found = bench.Report(tuple(scene_rows()), ENVIRONMENT)
    monkeypatch.setattr(bench, "run", lambda name, **options: found)
    monkeypatch.setattr(Run, "load", lambda run, model: None)


def test_report_is_written_and_named(cli: Cli, measured, tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    ended = cli("bench", "scenes", "--report", path)
    assert ended.code == 0
    assert "Report: " in ended.out
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_json_stays_one_object_and_rows_can_be_kept_too(cli: Cli, measured, tmp_path: Path) -> None:
    words = ("--report", tmp_path / "report.html", "--out", tmp_path / "rows.csv", "--json")
    ended = cli("bench", "scenes", *words)
    assert len(ended.data["rows"]) == len(scene_rows())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "rows.csv"]


def test_no_report_unless_asked_for(cli: Cli, measured, tmp_path: Path) -> None:
    assert "Report" not in cli("bench", "scenes").out
    assert list(tmp_path.iterdir()) == []


def test_pdf_by_its_ending(
    cli: Cli, measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    error = cli("bench", "scenes", "--report", tmp_path / "report.pdf").one_error(2)
    assert "apt-get install chromium" in error


def test_a_file_gives_what_flags_do_not(cli: Cli, asked, tmp_path: Path) -> None:
    file = tmp_path / "bench.yaml"
    file.write_text("concepts: [cat, ink]\nleast: 9\n")
    assert cli("bench", "ladder", "--config", file, "--least", "3").code == 0
    assert asked == [("ladder", {"concepts": ["cat", "ink"], "least": 3})]
    file.write_text("- cat\n")
    assert "map option names" in cli("bench", "ladder", "--config", file).one_error(2)
