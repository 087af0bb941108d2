"""SIGKILL during ``sepme erase``: a re-run goes on with what is left."""

import os
import time
from pathlib import Path

import pytest

from sepme.errors import LedgerError
from sepme.io.ledger_dir import LedgerDir
from tests.unit.cli.conftest import Cli, start

WORDS = ("owl", "fig", "jar", "sky")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")


def erased(folder: Path) -> tuple[str, ...]:
    try:
        return LedgerDir(folder).ledger.erased
    except LedgerError:
        return ()


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [1, 2])
def test_a_killed_erase_goes_on(cli: Cli, tiny: Path, tmp_path: Path, wanted: int) -> None:
    folder = tmp_path / "l"
    words = ("erase", *WORDS, "--model", tiny, "--ledger", folder)
    process = start(*words)
    deadline = time.monotonic() + 120
    while len(erased(folder)) < wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    _, err = process.communicate()
    done = erased(folder)
    assert len(done) >= wanted
    reported = {line.split()[0] for line in err.splitlines() if "erased in" in line}
    assert reported <= set(done)
    again = cli(*words, "--json")
    assert again.code == 0
    actions = {row["name"]: row["action"] for row in again.data["concepts"]}
    assert {name for name, action in actions.items() if action == "skipped"} == set(done)
    assert {name for name, action in actions.items() if action == "fitted"} == set(WORDS) - set(
        done
    )
    assert erased(folder) == tuple(sorted(WORDS))
