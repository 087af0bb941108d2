"""The algebra on the tiny model, with random shifts in place of fits."""

from sepme import bench
from sepme.bench.algebra import Algebra
from tests.unit.bench.nudge import ALGEBRA

NAMES = ALGEBRA["concepts"]


def values(report: bench.Report, metric: str, **where) -> dict:
    return {
        (row.get("concept_i"), row["concepts"]): row["value"]
        for row in report.rows
        if row["metric"] == metric and where.items() <= row.items()
    }


def test_separable_shifts_do_not_meet(algebra_of) -> None:
    report = algebra_of("sepme")
    for metric, level, tolerance in (
        ("separability", "keys-values", 1e-5),
        ("drift_noise", "noise", 1e-4),
    ):
        found = {k: v for k, v in values(report, metric, level=level).items() if k[0]}
        assert len(found) == 9
        for (one, two), value in found.items():
            assert (value > 1e-3) if one == two else (value < tolerance)
    assert values(report, "restore_error").keys() == {(None, n) for n in (*NAMES, "all")}
    assert max(values(report, "restore_error").values()) <= 1
    assert values(report, "restore_error")[None, "all"] == 0


def test_careless_shifts_do(algebra_of) -> None:
    """Inverse check: shifts that leave nothing alone are seen at every level."""
    report = algebra_of("careless")
    apart = {k: v for k, v in values(report, "separability").items() if k[0] != k[1]}
    assert max(apart.values()) > 0.01
    noise = values(report, "drift_noise", level="noise")
    assert max(v for (one, two), v in noise.items() if one and one != two) > 1e-3
    assert max(values(report, "restore_error").values()) > 1


def test_subsets_are_exact_and_complete(algebra_of) -> None:
    report = algebra_of("sepme")
    errors = values(report, "subset_error", level="weights")
    assert len(errors) == 2 ** len(NAMES)
    assert set(errors.values()) == {0.0}
    largest = {k[1]: v for k, v in values(report, "drift_noise", level="noise").items() if not k[0]}
    assert len(largest) == 8
    assert max(largest.values()) < 1e-4
    assert largest["none"] == 0


def test_the_sequence(algebra_of) -> None:
    report = algebra_of("sepme")
    steps = [row for row in report.rows if row.get("time") is not None]
    wanted = [(t, name) for t, active in enumerate(Algebra(**ALGEBRA).path()) for name in active]
    assert sorted((row["time"], row["concepts"]) for row in steps) == sorted(wanted)
    for row in report.rows:
        if row["metric"] == "rebound":
            assert row["lo"] <= row["value"] <= row["hi"]


def test_a_path_toggles_one_concept_at_a_time() -> None:
    before: frozenset[str] = frozenset()
    for active in Algebra(toggles=20).path():
        assert len(active ^ before) == 1
        before = active
    assert list(Algebra(seed=1).path()) != list(Algebra(seed=2).path())
