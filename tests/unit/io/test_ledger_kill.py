"""A ledger folder survives SIGKILL at any instant and serialises its writers."""

import multiprocessing
import os
import random
import stat
import time
from collections.abc import Callable
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from sepme.io import shift_store
from sepme.io.ledger_dir import LedgerDir
from tests.shifts import BASE, make_shift, make_text_shift
from tests.unit.io.ledger_writer import Operation, erase_all, write_forever

SECONDS = 8
State = dict[str, str]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    """Processes that start fast, because their server has imported torch already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "safetensors.torch"])
    return context


def held(ledger_dir: LedgerDir) -> State:
    return {entry.name: entry.shift for entry in ledger_dir.ledger.active}


def after(state: State, operation: Operation) -> State:
    name, digest = operation
    rest = {key: value for key, value in state.items() if key != name}
    return rest if digest is None else {**rest, name: digest}


def possible_states(state: State, report: Connection) -> list[State]:
    """What a killed writer may leave: all it reported done, and perhaps what it had started."""
    started: Operation | None = None
    while True:
        try:
            word, operation = report.recv()
        except EOFError:
            return [state] if started is None else [state, after(state, started)]
        if word == "start":
            started = operation
        else:
            state, started = after(state, started), None


def test_sigkill_loses_nothing_that_was_reported(tmp_path: Path, processes) -> None:
    LedgerDir.create(tmp_path, base=BASE, model="toy")
    draw, state, kills = random.Random(0), {}, 0
    deadline = time.monotonic() + SECONDS
    while kills < 3 or time.monotonic() < deadline:
        mine, theirs = processes.Pipe(duplex=False)
        process = processes.Process(target=write_forever, args=(tmp_path, kills, theirs))
        process.start()
        theirs.close()
        assert mine.poll(60), "the writer did not start"
        time.sleep(draw.uniform(0, 0.05))
        process.kill()
        process.join()
        reopened = LedgerDir(tmp_path)
        assert held(reopened) in possible_states(state, mine)
        for entry in reopened.ledger.entries:
            assert reopened.shift(entry.name).digest == entry.shift
        state, kills = held(reopened), kills + 1
    reopened.erase(make_shift("last"))
    assert held(LedgerDir(tmp_path)) == {**state, "last": make_shift("last").digest}
    assert not list(tmp_path.rglob("*.staged"))
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_check_of_the_states_can_fail() -> None:
    """Inverse check: a lost operation is not among the possible states."""
    mine, theirs = multiprocessing.Pipe(duplex=False)
    for message in (("start", ("a", "1")), ("done", None), ("start", ("b", "2"))):
        theirs.send(message)
    theirs.close()
    assert possible_states({}, mine) == [{"a": "1"}, {"a": "1", "b": "2"}]


def test_two_writers_lose_nothing(tmp_path: Path, processes) -> None:
    LedgerDir.create(tmp_path, base=BASE, model="toy")
    names = [[f"{who}{number}" for number in range(10)] for who in "ab"]
    writers = [processes.Process(target=erase_all, args=(tmp_path, part)) for part in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    reopened = LedgerDir(tmp_path)
    assert reopened.ledger.erased == tuple(sorted(names[0] + names[1]))
    assert len(reopened.history()) == 21


class Killed(BaseException):
    """Stands for a kill: nothing in the library may catch it."""


def killing(n: int, call: Callable[..., object]) -> Callable[..., object]:
    """``call``, but the ``n``-th time it is called it kills instead."""
    calls = count(1)

    def counted(*args: object, **keywords: object) -> object:
        if next(calls) == n:
            raise Killed
        return call(*args, **keywords)

    return counted


@pytest.mark.parametrize("owner_and_name", [(os, "fsync"), (Path, "replace"), (Path, "unlink")])
@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("packed", [False, True], ids=["alone", "packed"])
def test_kill_at_each_step(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner_and_name: tuple[object, str],
    n: int,
    packed: bool,
) -> None:
    """Also with shifts that share a file from then on, so that the files of each must go."""
    monkeypatch.setattr(shift_store, "PACKED_FROM", 2)  # so that eight steps are all there are
    make, names = (make_text_shift, "ab") if packed else (make_shift, "a")
    old, new = ([make(name, seed=seed) for name in names] for seed in range(2))
    ledger_dir = LedgerDir.create(tmp_path, base=BASE, model="toy")
    for shift in old:
        ledger_dir.erase(shift, allow_interference=True)
    owner, name = owner_and_name
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killing(n, getattr(owner, name)))
        try:
            ledger_dir.erase(*new, allow_interference=True)
        except Killed:
            expected = [set(old), set(new)]
        else:
            expected = [set(new)]
    held = set(LedgerDir(tmp_path).shifts().values())
    assert held in expected
    LedgerDir(tmp_path).erase(make_shift("z"), allow_interference=True)
    alone = [f"{name}.safetensors" for name in names]
    files = ["many"] if packed and held == set(new) else alone
    assert sorted(path.name.split("++")[0] for path in tmp_path.rglob("*") if path.is_file()) == [
        ".lock",
        *sorted(["history.jsonl", "ledger.json", "z.safetensors", *files]),
    ]
    assert set(LedgerDir(tmp_path).shifts().values()) == {*held, make_shift("z")}


def test_a_torn_write_does_not_hide_the_good_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shift that is erased a second time is written under the digest that is already listed."""
    ledger_dir, shift = LedgerDir.create(tmp_path, base=BASE, model="toy"), make_shift("a")
    ledger_dir.erase(shift)

    def tear(handle: int) -> None:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            os.ftruncate(handle, 3)
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", tear)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # the dead tidy nothing up
        with pytest.raises(Killed):
            ledger_dir.erase(shift)
    assert list(tmp_path.rglob("*.tmp"))
    reopened = LedgerDir(tmp_path)
    assert reopened.shift("a").digest == shift.digest
    reopened.restore("a")
    assert not list(tmp_path.rglob("*.tmp"))
