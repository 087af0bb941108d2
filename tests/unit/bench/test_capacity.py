"""Many concepts on the tiny model, with random shifts in place of fits."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sepme import bench
from sepme.bench import benchmark
from sepme.bench.capacity import Capacity
from sepme.bench.capacity_rows import METRICS
from sepme.bench.crowds import Crowd, order
from sepme.bench.erasures import Eraser
from sepme.bench.store import Store
from sepme.errors import NullSpaceExhausted, SpecError
from sepme.plan import plan
from tests.tiny import null_space_shift
from tests.unit.bench.nudge import Careless, Nudge

SMALL = {"sizes": (1, 3), "arrive": (2,), "restores": 2, "images": 4, "steps": 1}
NAMES = [concept.name for concept in order()[:3]]


class Crowded(Careless):
    """Fits one concept beside one other at most."""

    name = "crowded"

    def fit(self, model, concept, *, retain=(), seed=0):
        self.fits.append(f"{concept.name}|{'+'.join(other.name for other in retain)}")
        if len({*retain, *model.known}) > len(model.backend.known) + 1:
            raise NullSpaceExhausted("no room")
        return super().fit(model, concept, retain=retain, seed=seed)


class Whole(Careless):
    """Fits several as one that is not separable."""

    name = "whole"
    separable = False

    def fit_here(self, model, concepts, *, retain=(), seed=0):
        self.fits.append("+".join(concept.name for concept in concepts))
        shift = super().fit(model, concepts[0], retain=retain, seed=seed)
        return (replace(shift, concepts=tuple(concepts), separable=False),)


class Telling(Nudge):
    """Leaves alone what is erased beside it, and nothing of the rest."""

    name = "telling"

    def fit(self, model, concept, *, retain=(), seed=0):
        beside = [other for other in retain if other.name in NAMES]
        return null_space_shift(model, concept, beside, seed=seed, size=1.0)


@pytest.fixture(autouse=True)
def methods(nudging, monkeypatch: pytest.MonkeyPatch) -> None:
    everyone = (Nudge, Careless, Crowded, Whole, Telling)
    monkeypatch.setattr(benchmark, "METHODS", {kind.name: kind for kind in everyone})


def run(model, folder: Path, **options) -> bench.Report:
    asked = {"methods": ("telling",), **SMALL, **options}
    return bench.run("capacity", model=model, cache=folder, progress=False, **asked)


def find(report: bench.Report, metric: str, **at) -> list[dict]:
    return [row for row in report.rows if row["metric"] == metric and at.items() <= row.items()]


def test_every_size_has_every_figure(tmp_path: Path, judged_tiny) -> None:
    report = run(judged_tiny, tmp_path)
    places = dict.fromkeys((row["stage"], row["size"], row["state"]) for row in report.rows)
    assert list(places) == [
        ("at once", 1, "all erased"), ("at once", 3, "all erased"), ("at once", 3, "one restored"),
        ("one after another", 2, "all erased"), ("one after another", 2, "one restored"),
    ]  # fmt: skip
    for stage, size, state in places:
        at = {"stage": stage, "size": size, "state": state}
        metrics = {row["metric"] for row in report.rows if at.items() <= row.items()}
        told = {"original_accuracy", "erased_accuracy"}
        if state == "all erased":
            told |= {"retained_accuracy", "failed", "seconds", "exact", "separability"}
            for split, n in (("literal", 2), ("heldout", 4)):
                (row,) = find(report, "erased_accuracy", domain="all", split=split, **at)
                assert row["n"] == n
        else:
            told |= {"restored_accuracy", "restored_drop"}
            assert all(
                row["restored_by"] == "ledger" for row in find(report, "erased_accuracy", **at)
            )
        assert told <= metrics
    for row in report.rows:
        assert set(bench.report.COLUMNS) <= row.keys()
        assert row["lo"] is None or row["lo"] <= row["value"] <= row["hi"]
    assert {row["value"] for row in find(report, "failed")} == {0}
    json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert "separability" in report.to_html(tmp_path / "page.html").read_text()
    assert judged_tiny.erased == ()
    assert all((judged_tiny.backend.live()[s] == w).all() for s, w in judged_tiny.sites().items())


def test_a_resumed_run_keeps_figures(tmp_path: Path, judged_tiny, nudging) -> None:
    first = run(judged_tiny, tmp_path, methods=("crowded",), retained="none")
    made = len(nudging)
    assert run(judged_tiny, tmp_path, methods=("crowded",), retained="none").rows == first.rows
    assert len(nudging) - made == 3, "only what was refused is tried again"


def test_what_refuses_is_a_row_and_the_rest_goes_on(tmp_path, judged_tiny, nudging) -> None:
    report = run(judged_tiny, tmp_path, methods=("crowded",), retained="none", arrive=(3,))
    failed = {(row["stage"], row["size"]): row for row in find(report, "failed")}
    assert {place: row["value"] for place, row in failed.items()} == {
        ("at once", 1): 0, ("at once", 3): 3, ("one after another", 3): 1,
    }  # fmt: skip
    last = failed["one after another", 3]
    assert (last["refused"], last["reason"]) == (NAMES[2], "NullSpaceExhausted: no room")
    assert not find(report, "erased_accuracy", stage="at once", size=3)
    (row,) = find(
        report, "erased_accuracy",
        stage="one after another", state="all erased", domain="all", split="heldout",
    )  # fmt: skip
    assert row["n"] == 4, "what refused is asked for all the same"


def test_fits_are_told_of_what_is_known(tmp_path, judged_tiny, nudging) -> None:
    crowd, store = Crowd.of(order()[:3]), Store(tmp_path)
    a, b, c = NAMES
    for rest in (False, True):
        Nudge.fits.clear()
        Eraser(judged_tiny, Crowded(), store, 0, rest).at_once(crowd)
        others = {name: set(told.split("+")) for name, told in (x.split("|") for x in nudging)}
        stays = {concept.name for concept in crowd.rest} if rest else set()
        assert others == {a: {b, c} | stays, b: {a, c} | stays, c: {a, b} | stays}
    Nudge.fits.clear()
    known = Eraser(judged_tiny, Crowded(), store, 0, False).one_after_another(crowd)
    assert nudging == [f"{a}|", f"{b}|", f"{c}|"], "those before come with the ledger"
    assert known.names == {a, b}
    assert set(known.refused) == {c}


def test_one_is_given_back_and_the_others_are_not(tmp_path, judged_tiny, nudging) -> None:
    """Inverse check: shifts that do not know a concept leave it changed."""
    spread, late = (
        {"stage": stage, "state": "one restored"} for stage in ("at once", "one after another")
    )
    report = run(judged_tiny, tmp_path, images=8)
    drops = find(report, "restored_drop", split="literal", domain="all", **spread)
    assert [row["concepts"] for row in drops] == [NAMES[0], NAMES[1], "restored"]
    assert {row["value"] for row in drops} == {0}
    names = {row["concepts"] for row in find(report, "restored_drop", **late)}
    assert names == {*NAMES[:2], "restored"}
    harmed = run(judged_tiny, tmp_path, images=8, methods=("careless",))
    assert any(row["value"] for row in find(harmed, "restored_drop", **spread))
    before, after = (
        [find(r, "original_accuracy", split="literal", **spread)] for r in (report, harmed)
    )
    assert [r["value"] for r in before[0]] == [r["value"] for r in after[0]]


def test_what_is_one_shift_is_fitted_anew(tmp_path: Path, judged_tiny, nudging) -> None:
    a, b, c = NAMES
    report = run(judged_tiny, tmp_path, methods=("whole",))
    assert nudging == [a, f"{a}+{b}+{c}", f"{b}+{c}", f"{a}+{c}"]
    assert not find(report, "erased_accuracy", stage="one after another")
    assert {row["restored_by"] for row in find(report, "restored_accuracy")} == {"refit"}


@pytest.mark.parametrize("rest", [True, False])
def test_separability_is_that_of_the_plan(tmp_path: Path, judged_tiny, rest: bool) -> None:
    crowd = Crowd.of(order()[:3])
    found = Eraser(judged_tiny, Nudge(), Store(tmp_path), 0, rest).separabilities(crowd, rest=rest)
    told = plan(judged_tiny, crowd.erased, retain=crowd.rest if rest else (), method=Nudge())
    assert found == pytest.approx([row.separability for row in told.rows], abs=1e-9)
    assert (max(found) < 1e-3) == rest, "inverse check: the rest leaves no room"


def test_pictures_are_of_one_case(tmp_path: Path, judged_tiny) -> None:
    report = run(judged_tiny, tmp_path, methods=("telling", "careless"), arrive=(), restores=0)
    assert [list(shown) for shown in report.pictures.values()] == [
        ["original", "telling", "careless"]
    ] * 2


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"methods": ()}, SpecError, "distinct methods"),
        ({"methods": ("nudge", "nudge")}, SpecError, "distinct methods"),
        ({"method": "nudge"}, SpecError, "name methods"),
        (
            {"methods": ("nudge", "whole"), "hyperparameters": {"size": 1.0}},
            SpecError,
            "one method",
        ),
        ({"methods": ("nudge",), "sizes": (41,)}, SpecError, "1 to 40"),
        ({"methods": ("nudge",), "sizes": (), "arrive": ()}, SpecError, "1 to 40"),
        ({"methods": ("nudge",), "restores": -1}, SpecError, "at least 0"),
        ({"methods": ("nudge",), "retained": "some"}, SpecError, "retained"),
        ({"methods": ("nudge",), "images": 0}, SpecError, "at least 1"),
    ],
)
def test_wrong_options(options, error, said: str) -> None:
    with pytest.raises(error) as caught:
        bench.specify("capacity", **options)
    assert said in str(caught.value)


@pytest.mark.parametrize(("given", "sizes"), [("1,2, 5", (1, 2, 5)), (5, (5,)), ([1, 2], (1, 2))])
def test_sizes_as_in_the_shell(given, sizes: tuple[int, ...]) -> None:
    assert bench.specify("capacity", methods=("nudge",), sizes=given).sizes == sizes


def test_the_overview_shows_rates() -> None:
    assert set(METRICS.values()) < Capacity.headline
