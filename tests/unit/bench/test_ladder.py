"""The ladder on the tiny model, with random shifts in place of fits."""

from pathlib import Path

import pytest

from sepme import bench
from sepme.bench.benchmark import taught
from sepme.bench.ladder import Ladder, by_distance
from sepme.bench.wordings import RUNGS
from sepme.core.concept import Concept
from sepme.errors import BackendError

SMALL = {"concepts": ("ink", "cat"), "least": 2, "steps": 1, "neighbours": 2}


def run(model, folder: Path, **options) -> bench.Report:
    return bench.run("ladder", model=model, cache=folder, progress=False, **SMALL | options)


def test_every_rung_of_every_concept(tmp_path: Path, judged_tiny, nudging) -> None:
    report = run(judged_tiny, tmp_path)
    assert nudging == ["ink", "cat"]
    found = {(row["concepts"], row["rung"], row["metric"]) for row in report.rows}
    for concept in SMALL["concepts"]:
        for rung in RUNGS:
            assert {(concept, rung, m) for m in ("original_accuracy", "erased_accuracy")} <= found
        for rung in ("neighbour", "random"):
            assert (concept, rung, "retained_accuracy") in found
        assert (concept, "composition", "cross_domain_accuracy") in found
    assert all(row["lo"] <= row["value"] <= row["hi"] for row in report.rows)
    assert judged_tiny.backend.live().keys() == judged_tiny.sites().keys()
    assert all((judged_tiny.backend.live()[s] == w).all() for s, w in judged_tiny.sites().items())

    again = run(judged_tiny, tmp_path)
    assert again.rows == report.rows
    assert len(nudging) == 2, "a fit was made twice"


def test_the_erased_concept_is_not_among_the_others(tiny_model) -> None:
    for concept in taught(["ink", "cat"]):
        near, far = Ladder()._others(tiny_model, concept)
        kinds = {other.kind for other in (*near, *far)}
        assert kinds == {concept.kind}
        assert len({concept, *near, *far}) == 7


def test_a_shift_shows_and_the_original_stays(tmp_path, judged_tiny, nudging) -> None:
    """Inverse check: a shift that goes far changes figures, but never the original's."""
    options = {"concepts": ("ink",), "least": 8}
    plain, far = (
        run(judged_tiny, tmp_path / m, method=m, **options) for m in ("sepme", "careless")
    )
    for a, b in zip(plain.rows, far.rows, strict=True):
        if a["metric"].startswith("original"):
            assert a["value"] == b["value"]
    assert [row["value"] for row in plain.rows] != [row["value"] for row in far.rows]


def test_several_fits_give_cluster_intervals(tmp_path: Path, judged_tiny, nudging) -> None:
    report = run(judged_tiny, tmp_path, concepts=("ink",), fits=2, least=8)
    assert nudging == ["ink", "ink"]
    for row in report.rows:
        assert row["seeds"] == [0, 1]
        assert ("wilson_lo" in row) == (not row["metric"].startswith("original"))
        assert row["rung"] == "composition" or row["n"] == 8


def test_each_fit_draws_cases_of_its_own() -> None:
    spec = Ladder(fits=3, least=10)
    triples = [("a", "ink", None), ("b", "ink", None), ("c", "ink", None)]
    parts = [spec._cases(triples, turn) for turn in range(3)]
    assert [len(part) for part in parts] == [4, 4, 4]
    assert len({case.seed for part in parts for case in part}) == 12


def test_nearest_first(tiny_model) -> None:
    owl, owls, fig = Concept("owl", ("owl",)), Concept("owls", ("owls",)), Concept("fig", ("#9",))
    assert by_distance(tiny_model, owl, [fig, owls]) == (owls, fig)
    assert by_distance(tiny_model, fig, [owl, fig])[0] == fig


def test_no_detector_no_ladder(tmp_path: Path, tiny_model, nudging) -> None:
    with pytest.raises(BackendError, match="no detector"):
        run(tiny_model, tmp_path)
