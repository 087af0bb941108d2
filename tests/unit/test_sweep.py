"""The sweep: which setting its rule chooses, and what it writes."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sepme import bench
from sepme.demo import weights
from sepme.errors import SpecError
from sepme.methods import METHODS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sweep():
    spec = importlib.util.spec_from_file_location("sweep", ROOT / "benchmarks" / "sweep.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def judged(loss: float, erased: float, drift: float = 0.1) -> dict:
    return {"loss": loss, "erased": erased, "drift": drift}


def test_the_rule(sweep) -> None:
    ordered = [
        judged(0.05, 0.0),
        judged(0.03, 0.1, 0.2),
        judged(0.0, 0.1, 0.3),  # less is lost, but both are within what counts as nothing
        judged(-0.1, 0.2),
        judged(0.2, 0.1),
        judged(0.04, 0.4),  # keeps nearly everything, the concept too
        {"error": "diverged"},
    ]
    assert sorted(reversed(ordered), key=sweep.order) == ordered


def rows(setting: dict, kind: str, split: str) -> tuple[dict, ...]:
    lamb = setting["lamb"]
    at = {"task": kind, "concepts": kind, "n": 8, "split": split}
    asked = {
        "erased": ("original_accuracy", "erased_accuracy"),
        "same domain": ("original_accuracy", "retained_accuracy"),
        "other domain": ("original_accuracy", "retained_accuracy"),
    }
    found = [
        at | {"metric": metric, "role": role, "value": 1.0 if place == 0 else lamb}
        for role, pair in asked.items()
        for place, metric in enumerate(pair)
    ]
    found += [row | {"split": "literal"} for row in found[:2]]
    cross = ("original_cross_domain_accuracy", "cross_domain_accuracy")
    found += [at | {"metric": metric, "role": "erased", "value": 1.0} for metric in cross]
    more = (("drift_features", split), ("seconds", "none"))
    found += [at | {"metric": metric, "split": s, "value": lamb} for metric, s in more]
    failed = at | {"metric": "fit_failed", "reason": "no direction", "value": 1}
    return (*found, failed) if lamb == 0.5 else tuple(found)


def test_every_setting_is_written_with_its_error(sweep, tmp_path: Path, monkeypatch) -> None:
    asked = []

    def run(name: str, *, hyperparameters, tasks, templates, **options) -> bench.Report:
        asked.append((name, tasks, templates))
        if hyperparameters["lamb"] < 0:
            raise SpecError("lamb must be above 0")
        return bench.Report(rows(hyperparameters, tasks[0], templates), {})

    model = SimpleNamespace(fingerprint="sha256:0", presets={"uce": {"rows": "last"}})
    monkeypatch.setattr(bench, "run", run)
    monkeypatch.setattr(sweep.sepme, "load", lambda name: model)
    grid, out = tmp_path / "grid.yaml", tmp_path / "new" / "uce.json"
    grid.write_text("[{lamb: -1}, {lamb: 0.5}, {lamb: 0.25}, {lamb: 0.98}]")
    words = ["sweep.py", "uce", "--grid", str(grid), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    sweep.main()
    assert set(asked) == {("methods", ("one",), "train"), ("methods", ("joint",), "train")}
    written = json.loads(out.read_text())
    tried = written["settings"]
    assert [each["setting"]["lamb"] for each in tried] == [-1, 0.5, 0.25, 0.98]
    assert [each.get("error") for each in tried][:2] == [
        "lamb must be above 0",
        "one: no direction",
    ]
    assert tried[3]["figures"]["kept, same domain"] == {"value": 0.98, "original": 1.0, "n": 16}
    assert written["chosen"]["setting"] == {"lamb": 0.25}, "0.98 forgets too little"
    assert written["chosen"]["resolved"]["rows"] == "last"
    assert "command" in written


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "grids").glob("*.yaml")))
def test_grids_are_of_methods(sweep, path: Path) -> None:
    for setting in sweep.settings(path):
        METHODS[path.stem](**setting).resolve(setting)


def same_whatever_the_preset(record: dict, preset: dict) -> bool:
    method = METHODS[record["method"]]
    tried = [each["setting"] for each in record["settings"]]
    return all(
        method(**each).resolve(record["preset"]) == method(**each).resolve(preset) for each in tried
    )


@pytest.mark.parametrize("path", sorted((ROOT / "docs/experiments/sweeps").glob("*.json")))
def test_a_committed_sweep_can_be_repeated(sweep, path: Path) -> None:
    """Its settings are the grid's, and do not hang on the preset that came out of it."""
    record = json.loads(path.read_text())
    presets = json.loads((weights() / "sepme.json").read_text())["presets"]
    tried = [each["setting"] for each in record["settings"]]
    assert tried == sweep.settings(ROOT / "benchmarks" / "grids" / f"{path.stem}.yaml")
    assert same_whatever_the_preset(record, presets[path.stem])


def test_a_setting_that_hangs_on_the_preset_is_noticed() -> None:
    record = {"method": "uce", "preset": {}, "settings": [{"setting": {"lamb": 2.0}}]}
    assert same_whatever_the_preset(record, {"lamb": 0.1})
    assert not same_whatever_the_preset(record, {"rows": "last"})


def test_a_grid_that_is_none_is_refused(sweep, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text("lamb: 1")
    with pytest.raises(SystemExit, match="list of settings"):
        sweep.settings(tmp_path / "grid.yaml")
