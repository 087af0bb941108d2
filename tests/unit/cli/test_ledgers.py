"""``sepme restore`` and ``sepme status``, and what bad ledgers do to any command."""

import itertools
import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sepme.io.ledger_dir import LedgerDir
from sepme.io.shift_pack import pack_bytes
from tests.shifts import BASE, make_shift, make_text_shift
from tests.unit.cli.conftest import Cli, start

DAY = "2026-01-02"


def snapshot(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_restore(cli: Cli, ledger: Path) -> None:
    ended = cli("restore", "owl", "--ledger", ledger, "--reason", "licence back", "--json")
    assert ended.data["restored"] == ["owl"]
    assert ended.data["erased"] == ["fig"]
    assert LedgerDir(ledger).history()[-1].event["reason"] == "licence back"
    assert "the original" in cli("restore", "Fig", "--ledger", ledger).out


def test_restore_of_what_is_not_erased(cli: Cli, ledger: Path) -> None:
    before = snapshot(ledger)
    assert "Did you mean 'owl'" in cli("restore", "owll", "--ledger", ledger).one_error(2)
    assert cli("restore", "owl", "jar", "--ledger", ledger).code == 2
    assert cli("restore", "猫", "--ledger", ledger).code == 2
    assert snapshot(ledger) == before


def test_restore_is_fast(ledger: Path) -> None:
    start_time = time.perf_counter()
    process = start("restore", "owl", "--ledger", ledger)
    out, err = process.communicate()
    assert time.perf_counter() - start_time < 5  # a loose gate: machines under test are busy
    assert (process.returncode, err) == (0, "")
    assert "Restored owl" in out


def test_status(cli: Cli, ledger: Path) -> None:
    cli("restore", "owl", "--ledger", ledger)
    ended = cli("status", "--ledger", ledger, "--json")
    assert ended.data["erased"] == ["fig"]
    assert {entry["name"]: entry["active"] for entry in ended.data["entries"]} == {
        "fig": True,
        "owl": False,
    }
    assert [event["event"] for event in ended.data["history"]] == [
        "create",
        "erase",
        "erase",
        "restore",
    ]
    shown = cli("status", "--ledger", ledger).out
    assert "restored" in shown
    assert all(len(line) <= 80 for line in shown.splitlines() if "│" in line)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every record of a history be a minute younger than the one before."""
    minutes = (f"{DAY}T00:{minute:02}:00Z" for minute in itertools.count())
    stub = SimpleNamespace(gmtime=lambda: None, strftime=lambda *_: next(minutes))
    monkeypatch.setattr("sepme.io.history.time", stub)


def since(cli: Cli, folder: Path) -> dict[str, str]:
    """The minute that each row of the status shows."""
    lines = cli("status", "--ledger", folder).out.splitlines()
    rows = [[cell.strip() for cell in line.split("│")] for line in lines if "│" in line]
    return {row[1]: row[4].removeprefix(f"{DAY} 00:") for row in rows if DAY in row[4]}


def test_status_dates_what_was_erased_jointly(cli: Cli, tmp_path: Path, clock) -> None:
    held = LedgerDir.create(tmp_path / "l", base=BASE, model="demo")
    held.erase(make_shift("cat", "dog", separable=False))
    held.erase(make_shift("owl"), allow_interference=True)
    assert since(cli, held.path) == {"cat+dog": "01", "owl": "02"}
    held.restore("cat", "dog")
    assert since(cli, held.path) == {"cat+dog": "03", "owl": "02"}


def test_status_dates_what_a_joint_shift_replaced(cli: Cli, tmp_path: Path, clock) -> None:
    held = LedgerDir.create(tmp_path / "l", base=BASE, model="demo")
    held.erase(make_shift("cat"), make_shift("owl"))
    held.erase(make_shift("cat", "dog", separable=False), allow_interference=True)
    assert since(cli, held.path) == {"cat": "02", "cat+dog": "02", "owl": "01"}
    held.restore("cat", "dog")
    assert since(cli, held.path) == {"cat": "02", "cat+dog": "03", "owl": "01"}


def test_status_of_an_empty_ledger(cli: Cli, tmp_path: Path) -> None:
    LedgerDir.create(tmp_path / "l", base="sha256:0", model="demo")
    assert "Nothing was ever erased" in cli("status", "--ledger", tmp_path / "l").out


def truncate(folder: Path) -> None:
    path = folder / "shifts" / "owl.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def corrupt(folder: Path) -> None:
    path = folder / "shifts" / "owl.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def remove(folder: Path) -> None:
    (folder / "shifts" / "owl.safetensors").unlink()


def huge_header(folder: Path) -> None:
    (folder / "shifts" / "owl.safetensors").write_bytes(b"\xff" * 64)


def truncate_shared(folder: Path) -> None:
    (folder / "shifts" / "owl.safetensors").unlink()
    truncated_pack(folder)


def truncated_pack(folder: Path) -> Path:
    path = folder / "shifts" / "many++0.safetensors"
    path.write_bytes(pack_bytes([make_text_shift("owl")])[:-1])
    return path


def edit_history(folder: Path) -> None:
    path = folder / "history.jsonl"
    path.write_text(path.read_text().replace("owl", "cat"))


def edit_snapshot(folder: Path) -> None:
    path = folder / "ledger.json"
    path.write_text(path.read_text().replace("owl", "cat"))


def climb(folder: Path) -> None:
    path = folder / "history.jsonl"
    path.write_text(path.read_text().replace('"name":"owl"', '"name":"../../owl"'))


def nest(folder: Path) -> None:
    (folder / "ledger.json").write_text("[" * 100_000)


SHIFT_DAMAGE = [truncate, corrupt, remove, huge_header, truncate_shared]
LEDGER_DAMAGE = [edit_history, edit_snapshot, climb, nest]


@pytest.mark.parametrize("damage", [*SHIFT_DAMAGE, *LEDGER_DAMAGE], ids=lambda d: d.__name__)
@pytest.mark.parametrize("command", ["erase", "generate", "verify", "export"])
def test_a_damaged_ledger_gives_one_line_and_is_not_touched(
    cli: Cli, ledger: Path, tmp_path: Path, damage, command: str
) -> None:
    damage(ledger)
    before = snapshot(ledger)
    words = {
        "erase": ["jar"],
        "generate": ["a cat", "--out", tmp_path / "new"],
        "verify": ["--report", tmp_path / "new"],
        "export": ["--out", tmp_path / "new"],
    }[command]
    cli(command, *words, "--ledger", ledger).one_error(1)
    assert snapshot(ledger) == before
    assert not (tmp_path / "new").exists()


def test_damage_to_a_file_of_other_shifts_stops_nothing(
    cli: Cli, ledger: Path, tmp_path: Path
) -> None:
    damaged = truncated_pack(ledger)
    before = damaged.read_bytes()
    assert cli("restore", "fig", "--ledger", ledger).code == 0
    assert cli("erase", "jar", "--ledger", ledger).code == 0
    assert cli("export", "--out", tmp_path / "new", "--ledger", ledger).code == 0
    assert damaged.read_bytes() == before


@pytest.mark.parametrize("damage", LEDGER_DAMAGE, ids=lambda d: d.__name__)
@pytest.mark.parametrize("command", ["status", "restore"])
def test_a_damaged_ledger_is_not_read_either(cli: Cli, ledger: Path, damage, command: str) -> None:
    damage(ledger)
    before = snapshot(ledger)
    cli(command, *(["owl"] if command == "restore" else []), "--ledger", ledger).one_error(1)
    assert snapshot(ledger) == before


@pytest.mark.parametrize("command", ["status", "restore", "verify", "export", "generate"])
def test_no_ledger(cli: Cli, tmp_path: Path, command: str) -> None:
    words = {"restore": ["owl"], "export": ["--out", "x"], "generate": ["a cat"]}.get(command, [])
    assert "no ledger" in cli(command, *words, "--ledger", tmp_path).one_error(1)
    assert not list(tmp_path.iterdir())


def test_a_foreign_base_exits_with_5(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "l"
    foreign = make_shift("owl", base="sha256:1")
    LedgerDir.create(folder, base="sha256:1", model=str(tiny)).erase(foreign)
    before = snapshot(folder)
    for command, *words in (
        ("erase", "fig"),
        ("verify",),
        ("generate", "a cat", "--out", tmp_path / "new"),
        ("export", "--format", "checkpoint", "--out", tmp_path / "new"),
    ):
        cli(command, *words, "--ledger", folder).one_error(5)
    assert snapshot(folder) == before
    assert not (tmp_path / "new").exists()


def test_a_shift_of_another_base_put_into_a_ledger(cli: Cli, ledger: Path) -> None:
    from sepme.io.shift_file import save_shift

    save_shift(make_shift("owl"), ledger / "shifts" / "owl.safetensors")
    assert "holds shift" in cli("export", "--ledger", ledger, "--out", "x").one_error(1)


def test_a_folder_that_is_not_a_ledger(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "l").mkdir()
    (tmp_path / "l" / "thesis.txt").write_text("mine")
    ended = cli("erase", "owl", "--model", tiny, "--ledger", tmp_path / "l")
    assert "thesis.txt" in ended.one_error(1)
    (tmp_path / "file").write_text("")
    cli("erase", "owl", "--model", tiny, "--ledger", tmp_path / "file").one_error(1)


def test_a_full_disk_loses_nothing(cli: Cli, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads((ledger / "ledger.json").read_text())

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    for command, words in (("erase", ["jar"]), ("restore", ["owl"])):
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            assert "No space left" in cli(command, *words, "--ledger", ledger).one_error(1)
    assert json.loads((ledger / "ledger.json").read_text()) == before
    assert LedgerDir(ledger).ledger.erased == ("fig", "owl")
    assert cli("restore", "owl", "--ledger", ledger).code == 0
    shutil.rmtree(ledger)
