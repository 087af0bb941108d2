"""Plans and evidence as tables."""

from pathlib import Path

from tests.unit.cli.conftest import Cli


def test_a_plan_promises_no_time_for_a_closed_form(cli: Cli, tiny: Path) -> None:
    told = {
        method: cli("plan", "jar", "--model", tiny, "--method", method).out
        for method in ("sepme-text", "sepme")
    }
    assert "at most" not in told["sepme-text"]
    assert "at most" in told["sepme"]  # inverse check
