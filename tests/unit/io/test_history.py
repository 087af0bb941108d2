from pathlib import Path

import pytest

from sepme.errors import LedgerCorrupt
from sepme.io import history as module
from sepme.io.history import History


@pytest.fixture
def path(tmp_path: Path) -> Path:
    history = History.read(tmp_path / "history.jsonl")
    for number in range(3):
        history = history.append(history.following({"event": "test", "number": number}))
    return history.path


def test_reads_back_what_was_appended(path: Path) -> None:
    history = History.read(path)
    assert [record.event["number"] for record in history.records] == [0, 1, 2]
    assert [record.seq for record in history.records] == [0, 1, 2]
    assert history.head == history.records[-1].hash
    assert history.size == path.stat().st_size
    assert path.read_bytes() == b"".join(record.line() for record in history.records)


def test_missing_file_is_empty(tmp_path: Path) -> None:
    assert History.read(tmp_path / "x").records == ()


def test_torn_last_line_is_ignored_and_then_cut(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event":"te')
    history = History.read(path)
    assert (len(history.records), history.size) == (3, len(whole))
    history.append(history.following({"event": "test", "number": 3}))
    assert [record.event["number"] for record in History.read(path).records] == [0, 1, 2, 3]


def test_every_prefix_of_the_file_is_a_history(path: Path) -> None:
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        assert len(History.read(path).records) == whole[:size].count(b"\n")


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: [lines[0], lines[1].replace(b'"number":1', b'"number":7'), lines[2]],
        lambda lines: [lines[0], lines[2]],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: lines[1:],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines, b"{}\n"],
        lambda lines: [*lines, b"[]\n"],
        lambda lines: [*lines, b"\n"],
        lambda lines: [*lines, b"\x00\xff\n"],
    ],
)
def test_edits_are_noticed(path: Path, edit) -> None:
    path.write_bytes(b"".join(edit(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(LedgerCorrupt):
        History.read(path)


def test_full_disk_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, history = path.read_bytes(), History.read(path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        history.append(history.following({"event": "test", "number": 3}))
    assert path.read_bytes() == whole
