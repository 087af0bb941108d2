"""Methods side by side on the tiny model, with random shifts in place of fits."""

import json
import math
from pathlib import Path

import pytest

from sepme import bench
from sepme.bench import benchmark, takes
from sepme.bench.benchmark import taught
from sepme.bench.methods_bench import Methods
from sepme.bench.takes import GROUPS, Plan, Task
from sepme.errors import BackendError, MethodError, SpecError, UnknownMethod
from tests.unit.bench.nudge import Careless, Nudge

SMALL = {"concepts": ("ink", "fluent", "cat"), "least": 2, "steps": 1}
PLAN = Plan("heldout", least=6, fits=1, seed=0, steps=1, restores=True)


class Failing(Nudge):
    """Cannot erase a cat, nor ink once fluent is to be left alone."""

    name = "failing"

    def fit(self, model, concept, *, retain=(), seed=0):
        if concept.name == "cat" or retain:
            raise MethodError(f"cannot erase {concept.name}")
        return super().fit(model, concept, retain=retain, seed=seed)


class Whole(Nudge):
    """Fits several as one: none can be given back alone."""

    name = "whole"

    def fit_here(self, model, concepts, *, retain=(), seed=0):
        shifts = super().fit_here(model, concepts, retain=retain, seed=seed)
        return shifts if len(shifts) == 1 else shifts[:1]


def run(model, folder: Path, **options) -> bench.Report:
    asked = {"methods": ("sepme",), **SMALL, **options}
    return bench.run("methods", model=model, cache=folder, progress=False, **asked)


def find(report: bench.Report, metric: str, **at) -> list[dict]:
    return [row for row in report.rows if row["metric"] == metric and at.items() <= row.items()]


def test_every_task_has_every_figure(tmp_path: Path, judged_tiny, nudging) -> None:
    report = run(judged_tiny, tmp_path)
    assert sorted(nudging) == ["cat", "fluent", "fluent", "ink", "ink"]
    sets = dict.fromkeys((row["task"], row["concepts"]) for row in report.rows)
    assert list(sets) == [
        ("one", "ink"), ("one", "fluent"), ("each", "ink+fluent"), ("joint", "ink+fluent"),
        ("one", "cat"),
    ]  # fmt: skip
    for task, concepts in sets:
        own = [row for row in report.rows if (row["task"], row["concepts"]) == (task, concepts)]
        assert len(find(report, "erased_accuracy", task=task, concepts=concepts)) == 2
        assert {row["role"] for row in own if row["metric"] == "retained_accuracy"} == {
            "same domain",
            "other domain",
        }
        once = {"cross_domain_accuracy", "drift_psnr", "drift_features", "seconds", "bytes"}
        assert once <= {row["metric"] for row in own}
        stages = [row["stage"] for row in own if row["metric"] == "restore_error"]
        assert stages == ["one restored"] * (task == "joint") + ["all restored"]
    for row in report.rows:
        assert set(bench.report.COLUMNS) <= row.keys()
        assert row["lo"] is None or row["lo"] <= row["value"] <= row["hi"]
        assert not math.isnan(row["value"])
        if row["metric"].endswith("accuracy") and "cross_domain" not in row["metric"]:
            assert row["n"] >= 2
    json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert judged_tiny.erased == ()
    assert all((judged_tiny.backend.live()[s] == w).all() for s, w in judged_tiny.sites().items())


def test_a_resumed_run_keeps_figures_and_costs(tmp_path: Path, judged_tiny, nudging) -> None:
    first = run(judged_tiny, tmp_path)
    made = len(nudging)
    assert run(judged_tiny, tmp_path).rows == first.rows
    assert len(nudging) == made, "a fit was made twice"
    for kept in (tmp_path / "figures").iterdir():
        kept.unlink()
    again = run(judged_tiny, tmp_path)
    assert len(nudging) == 2 * made, "a fit whose cost is unknown is made again"
    timed = ("seconds", "peak_memory_mb")
    assert [row for row in again.rows if row["metric"] not in timed] == [
        row for row in first.rows if row["metric"] not in timed
    ]


def test_restoration(tmp_path: Path, judged_tiny, nudging, monkeypatch) -> None:
    monkeypatch.setattr(benchmark, "METHODS", {"nudge": Nudge, "careless": Careless})
    report = run(judged_tiny, tmp_path, methods=("all",))
    assert all(row["value"] == 0 for row in find(report, "restore_error", stage="all restored"))
    for name, exact in (("nudge", True), ("careless", False)):
        (row,) = find(report, "restore_error", method=name, stage="one restored")
        assert (row["claimed"], row["restored_by"]) == (exact, "ledger")
        assert (row["value"] <= 1) == exact  # inverse check: a shift that lists nobody


def test_a_restoration_that_fails_is_seen(tmp_path, judged_tiny, nudging, monkeypatch) -> None:
    """Inverse check: the images of everything restored are drawn, not looked up."""
    drawn = takes.complete

    def spoilt(model, batch, steps):
        return [image.point(lambda v: 255 - v) for image in drawn(model, batch, steps)]

    monkeypatch.setattr(takes, "complete", spoilt)
    rows = find(run(judged_tiny, tmp_path), "restore_error", stage="all restored")
    assert all(row["value"] > 0 for row in rows)


def test_what_is_fitted_as_one_is_fitted_anew(tmp_path, judged_tiny, nudging, monkeypatch) -> None:
    monkeypatch.setattr(benchmark, "METHODS", {"whole": Whole})
    report = run(judged_tiny, tmp_path, methods=("whole",), tasks=("joint",))
    (row,) = find(report, "restore_error", stage="one restored")
    assert row["restored_by"] == "refit"
    assert nudging == ["ink", "fluent", "fluent"]


def test_a_failed_fit_is_a_row(tmp_path: Path, judged_tiny, nudging, monkeypatch) -> None:
    monkeypatch.setattr(benchmark, "METHODS", {"failing": Failing})
    report = run(judged_tiny, tmp_path, methods=("failing",))
    failed = find(report, "fit_failed")
    assert [(row["task"], row["value"], row["stage"], row["reason"]) for row in failed] == [
        ("joint", 1, "fit", "cannot erase ink"),
        ("one", 1, "fit", "cannot erase cat"),
    ]
    assert find(report, "erased_accuracy", concepts="ink")
    assert not find(report, "erased_accuracy", concepts="cat")


def test_several_fits_share_images(tmp_path: Path, judged_tiny, nudging) -> None:
    report = run(judged_tiny, tmp_path, fits=2, least=8, concepts=("ink",))
    assert nudging == ["ink", "ink"]
    for row in report.rows:
        assert row["seeds"] == [0, 1]
        assert ("wilson_lo" in row) == (
            row["metric"].endswith("accuracy") and not row["metric"].startswith("original")
        )
    assert {row["n"] for row in find(report, "erased_accuracy")} == {8}


@pytest.mark.parametrize("names", [("ink",), ("church", "cat", "guitar")])
def test_prompts_name_what_they_should(names: tuple[str, ...]) -> None:
    concepts = taught(names)
    task = Task(concepts[0].kind, concepts)
    groups = {group: PLAN.cases(task, group, 0) for group in GROUPS}
    for group, cases in groups.items():
        for case in cases:
            assert ({case.style, case.object} & set(names) != set()) == (group != "retained")
            words = {concept.prompts[0].lower() for concept in concepts}
            named = any(f" {word} " in f" {case.prompt.lower()} " for word in words)
            assert not (named and group == "retained")
    assert {case.label(task.head) for case in groups["literal"]} == set(names)
    for head in ("style", "object"):
        assert sum(case.label(head) is not None for case in groups["retained"]) >= 6


def test_a_shift_shows_and_the_original_stays(tmp_path, judged_tiny, nudging) -> None:
    """Inverse check: a method that goes far differs from one that does not, on the same cases."""
    report = run(judged_tiny, tmp_path, methods=("sepme", "careless"), concepts=("ink",), least=8)
    plain, far = (
        [row for row in report.rows if row["method"] == name] for name in ("sepme", "careless")
    )
    seen = [(a, b) for a, b in zip(plain, far, strict=True) if a["split"] != "none"]
    for a, b in seen:
        if a["metric"].startswith("original"):
            assert a["value"] == b["value"]
    assert [a["value"] for a, _ in seen] != [b["value"] for _, b in seen]
    near, away = (find(report, "drift_psnr", method=name) for name in ("sepme", "careless"))
    assert near[0]["value"] > away[0]["value"]
    (caption,) = report.pictures
    assert list(report.pictures[caption]) == ["original", "sepme", "careless"]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"methods": ("sepmee",)}, UnknownMethod, "Did you mean"),
        ({"methods": ()}, SpecError, "distinct methods"),
        ({"methods": ("uce", "uce")}, SpecError, "distinct methods"),
        ({"method": "uce"}, SpecError, "name methods"),
        ({"methods": ("uce", "esd"), "hyperparameters": {"lamb": 1.0}}, SpecError, "one method"),
        ({"methods": ("uce",), "hyperparameters": {"lam": 1.0}}, SpecError, "lamb"),
        ({"concepts": ("cat",), "tasks": ("joint",)}, SpecError, "two concepts of a kind"),
        ({"templates": "test"}, SpecError, "templates"),
        ({"fits": 0}, SpecError, "at least 1"),
    ],
)
def test_wrong_options(options, error, said: str) -> None:
    with pytest.raises(error) as caught:
        bench.specify("methods", **options)
    assert said in str(caught.value)


def test_all_is_every_registered_method() -> None:
    assert Methods().compared == tuple(benchmark.METHODS)


def test_no_detector_no_comparison(tmp_path: Path, tiny_model, nudging) -> None:
    with pytest.raises(BackendError, match="no detector"):
        run(tiny_model, tmp_path)
