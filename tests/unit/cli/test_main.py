"""Every ending of the command line: exit code, one line, no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from sepme.cli import ledgers
from sepme.errors import BaseMismatch, NotSeparable, SepmeError
from tests.unit.cli.conftest import Cli, start


def raising(error: BaseException):
    def open_ledger(path: Path):
        raise error

    return open_ledger


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (SepmeError("got this,\nexpected that."), 1, "error: got this, expected that."),
        (NotSeparable("a and b collide."), 4, "error: a and b collide."),
        (BaseMismatch("another base."), 5, "error: another base."),
        (OSError(28, "No space left on device", "x/y"), 1, "error: x/y: No space left on device."),
        (RuntimeError("odd"), 1, "error: unexpected RuntimeError: odd"),
    ],
)
def test_an_error_is_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, line: str
) -> None:
    monkeypatch.setattr(ledgers, "LedgerDir", raising(error))
    ended = cli("status", "--ledger", "x")
    assert ended.one_error(code).startswith(line)
    assert ended.out == ""


def test_an_unexpected_error_can_be_traced(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    monkeypatch.setattr(ledgers, "LedgerDir", raising(RuntimeError("odd")))
    monkeypatch.setenv("SEPME_DEBUG", "1")
    with pytest.raises(RuntimeError, match="odd"):
        cli("status", "--ledger", "x")


def test_interruption_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "LedgerDir", raising(KeyboardInterrupt()))
    assert "interrupted" in cli("status", "--ledger", "x").one_error(130)


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["status"],
        ["status", "--ledger", "x", "--nonsense"],
        ["erase", "cat", "--ledger", "x", "--seed", "seven"],
        ["restore", "--ledger", "x"],
        ["export", "--ledger", "x", "--format", "pickle", "--out", "y"],
    ],
)
def test_wrong_usage_exits_with_2(cli: Cli, words: list[str]) -> None:
    ended = cli(*words)
    assert ended.code == 2
    assert ended.out == ""
    assert "Usage: sepme" in ended.err


def test_version_and_help(cli: Cli) -> None:
    assert cli("--version").out.startswith("sepme ")
    helped = cli("--help")
    assert helped.code == 0
    names = ["quickstart", "plan", "erase", "restore", "export"]
    names += ["status", "generate", "verify", "bench", "attack"]
    names += ["methods", "metrics", "attacks", "doctor"]
    places = [helped.out.index(f"│ {name} ") for name in names]
    assert places == sorted(places)
    for name in names:
        own = cli(name, "--help")
        assert own.code == 0
        assert all(flag in own.out for flag in ("--device", "--dtype", "--offline", "--json", "-q"))
        assert all(len(line) <= 80 for line in own.out.splitlines())


def test_a_broken_pipe_is_silent() -> None:
    process = start("methods")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait()
    process.stderr.close()


@pytest.mark.parametrize("command", ["--help", "status", "restore", "methods"])
def test_light_commands_do_not_import_torch(command: str, ledger: Path) -> None:
    words = {"status": ["--ledger", str(ledger)], "restore": ["owl", "--ledger", str(ledger)]}
    code = (
        "import sys\nfrom sepme.cli import main\n"
        f"try: main({[command, *words.get(command, [])]!r})\n"
        "except SystemExit as ending: assert not ending.code, ending.code\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
