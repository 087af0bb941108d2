"""``sepme metrics`` says what the classes say."""

from sepme.metrics import METRICS
from tests.unit.cli.conftest import Cli


def test_facts_are_those_of_the_registry(cli: Cli) -> None:
    rows = {row["name"]: row for row in cli("metrics", "--json").data["metrics"]}
    assert list(rows) == list(METRICS)
    for name, row in rows.items():
        kind = METRICS[name]
        assert (row["takes"], row["higher_is_better"]) == (kind.takes, kind.higher_is_better)
    assert rows["ua"]["bounds"] == [0, 1]
    assert rows["fid"]["bounds"] == [0, None]
    assert {name for name, row in rows.items() if row["needs"]} == {"clip_score", "nudity_count"}


def test_the_screen_fits(cli: Cli) -> None:
    shown = cli("metrics").out
    assert "NudeNet" in shown
    assert "0 to any" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
