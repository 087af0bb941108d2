import json
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from sepme.errors import (
    BaseMismatch,
    Interference,
    LedgerCorrupt,
    LedgerError,
    NotErased,
    ShiftFileError,
)
from sepme.io import atomic
from sepme.io.ledger_dir import LedgerDir
from tests.shifts import BASE, make_shift


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ledger_dir = LedgerDir.create(tmp_path / "ledger", base=BASE, model="demo")
    ledger_dir.erase(make_shift("a"), make_shift("b"), strength=0.5, reason="notice 12")
    ledger_dir.restore("b", reason="licence")
    return ledger_dir.path


def test_state_survives_reopening(folder: Path) -> None:
    ledger_dir = LedgerDir(folder)
    assert ledger_dir.model == "demo"
    assert ledger_dir.ledger.base == BASE
    assert ledger_dir.ledger.erased == ("a",)
    assert ledger_dir.ledger.entry("a").strength == 0.5
    assert [concept.name for concept in ledger_dir.ledger.known] == ["a", "b"]
    assert ledger_dir.shift("a") == make_shift("a")
    assert ledger_dir.shift("b") == make_shift("b")


def test_history_says_what_was_done_and_why(folder: Path) -> None:
    events = [record.event for record in LedgerDir(folder).history()]
    assert [event["event"] for event in events] == ["create", "erase", "restore"]
    assert [event.get("reason") for event in events] == [None, "notice 12", "licence"]
    assert events[2]["concepts"] == ["b"]


def test_snapshot_is_plain_json(folder: Path) -> None:
    snapshot = json.loads((folder / "ledger.json").read_text())
    assert snapshot.keys() == {"format", "model", "base", "entries", "head"}
    assert snapshot["head"] == LedgerDir(folder).history()[-1].hash


def test_a_second_view_sees_the_others_work_when_it_writes(folder: Path) -> None:
    one, two = LedgerDir(folder), LedgerDir(folder)
    one.erase(make_shift("c"))
    assert two.erase(make_shift("d")).erased == ("a", "c", "d")


@pytest.mark.parametrize(
    ("names", "file"),
    [
        (("a", "b"), "a+b.safetensors"),
        (tuple(f"{c}{'x' * 60}" for c in "ab"), "joint++*.safetensors"),
    ],
)
def test_joint_shift_is_stored_once(tmp_path: Path, names: tuple[str, ...], file: str) -> None:
    ledger_dir = LedgerDir.create(tmp_path, base=BASE, model="demo")
    shift = make_shift(*names, separable=False)
    ledger_dir.erase(shift)
    assert [path.match(file) for path in (tmp_path / "shifts").iterdir()] == [True]
    assert ledger_dir.shift(names[0]) == ledger_dir.shift(shift.name) == shift
    assert ledger_dir.restore(*names).erased == ()


def test_all_or_nothing(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    ledger_dir = LedgerDir(folder)
    with pytest.raises(BaseMismatch):
        ledger_dir.erase(make_shift("c"), make_shift("d", base="sha256:other"))
    with pytest.raises(NotErased):
        ledger_dir.restore("a", "z")
    with pytest.raises(Interference):
        ledger_dir.erase(make_shift("c", separable=False), make_shift("d", separable=False))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert ledger_dir.ledger.erased == ("a",)


def test_opening_writes_nothing(folder: Path) -> None:
    with (folder / "history.jsonl").open("ab") as file:
        file.write(b'{"torn')
    (folder / "shifts" / "x.safetensors.staged").write_bytes(b"")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert LedgerDir(folder).shift("a") == make_shift("a")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    LedgerDir(folder).erase(make_shift("c"))
    assert b"torn" not in (folder / "history.jsonl").read_bytes()
    assert not list(folder.rglob("*.staged"))


def test_snapshot_can_lag_or_be_missing(folder: Path) -> None:
    old = (folder / "ledger.json").read_bytes()
    LedgerDir(folder).erase(make_shift("c"))
    new = (folder / "ledger.json").read_bytes()
    (folder / "ledger.json").write_bytes(old)
    assert LedgerDir(folder).ledger.erased == ("a", "c")
    (folder / "ledger.json").unlink()
    assert LedgerDir(folder).ledger.erased == ("a", "c")
    LedgerDir(folder).erase(make_shift("d"))
    assert (folder / "ledger.json").read_bytes() != new


@pytest.mark.parametrize("keep", [0, 1, 50])
def test_truncated_snapshot(folder: Path, keep: int) -> None:
    path = folder / "ledger.json"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(LedgerCorrupt, match=r"ledger\.json"):
        LedgerDir(folder)


@pytest.mark.parametrize(
    "change", [{"model": "other"}, {"entries": []}, {"head": "0" * 64}, {"format": "x/2"}]
)
def test_edited_snapshot(folder: Path, change: dict[str, object]) -> None:
    path = folder / "ledger.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(LedgerCorrupt):
        LedgerDir(folder)


def test_reformatted_snapshot_is_the_same_snapshot(folder: Path) -> None:
    path = folder / "ledger.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=2))
    assert LedgerDir(folder).ledger.erased == ("a",)


@pytest.mark.parametrize("cut", [1, 2])
def test_history_cut_behind_the_snapshot(folder: Path, cut: int) -> None:
    path = folder / "history.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-cut]))
    with pytest.raises(LedgerCorrupt, match="contradicts"):
        LedgerDir(folder)


def test_tampered_history(folder: Path) -> None:
    path = folder / "history.jsonl"
    path.write_bytes(path.read_bytes().replace(b"licence", b"licenze"))
    with pytest.raises(LedgerCorrupt, match="chain"):
        LedgerDir(folder)


def test_swapped_or_missing_shift_file(folder: Path) -> None:
    ledger_dir = LedgerDir(folder)
    (folder / "shifts" / "b.safetensors").replace(folder / "shifts" / "a.safetensors")
    with pytest.raises(ShiftFileError, match="ledger lists"):
        ledger_dir.shift("a")
    with pytest.raises(ShiftFileError):
        ledger_dir.shift("b")


def test_a_staged_file_must_hold_the_shift_it_is_named_after(folder: Path) -> None:
    ledger_dir, shifts = LedgerDir(folder), folder / "shifts"
    digest = ledger_dir.ledger.entry("a").shift
    (shifts / "b.safetensors").replace(shifts / f"a.safetensors.{digest}.staged")
    with pytest.raises(ShiftFileError, match="ledger lists"):
        ledger_dir.shift("a")


def test_lock_held_by_another(folder: Path) -> None:
    with FileLock(folder / ".lock"), pytest.raises(LedgerError, match=r"\.lock"):
        LedgerDir(folder, timeout=0.1).restore("a")
    assert LedgerDir(folder).restore("a").erased == ()


def test_full_disk_keeps_the_old_state(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "fsync", full)
        for operation in (
            lambda: LedgerDir(folder).erase(make_shift("a", seed=1)),
            lambda: LedgerDir(folder).restore("a"),
            lambda: LedgerDir.create(folder / "x", base=BASE, model="demo"),
        ):
            with pytest.raises(LedgerError, match="No space left") as info:
                operation()
            assert len(str(info.value).splitlines()) == 1
    assert LedgerDir(folder).ledger.erased == ("a",)
    assert LedgerDir(folder).shift("a") == make_shift("a")
    assert LedgerDir(folder).erase(make_shift("a", seed=1)).erased == ("a",)


def test_create_needs_a_place_of_its_own(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="already holds a ledger"):
        LedgerDir.create(folder, base=BASE, model="demo")
    with pytest.raises(LedgerError, match="not empty"):
        LedgerDir.create(tmp_path, base=BASE, model="demo")
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot use"):
        LedgerDir.create(tmp_path / "file", base=BASE, model="demo")
    with pytest.raises(LedgerError, match="holds no ledger"):
        LedgerDir(tmp_path / "nowhere")


def test_create_finishes_what_a_kill_left(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / "history.jsonl").write_bytes(b'{"event":"cre')
    assert LedgerDir.create(tmp_path, base=BASE, model="demo").ledger.erased == ()


def test_reading_and_restoring_need_no_torch(folder: Path) -> None:
    script = (
        "import sys; from sepme.io.ledger_dir import LedgerDir; "
        "ledger_dir = LedgerDir(sys.argv[1]); ledger_dir.restore('a'); ledger_dir.history(); "
        "assert 'torch' not in sys.modules; import torch; assert 'torch' in sys.modules"
    )
    source = Path(__file__).parents[3] / "src"
    subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        check=True,
        env={"PYTHONPATH": str(source)},
        timeout=100,
    )
    assert LedgerDir(folder).ledger.erased == ()
