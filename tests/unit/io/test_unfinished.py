"""States of a fit on the disk; that fits go on from them is shown for every method."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sepme.core.state import keeper
from sepme.errors import MethodError
from sepme.io import unfinished
from sepme.io.unfinished import Unfinished, resumable


def kept(folder: Path) -> list[float]:
    return [float(load_file(path)["x"]) for path in sorted(folder.iterdir())]


def state(value: float):
    return lambda: {"x": torch.tensor(value)}


def test_every_optimisation_has_a_file_of_its_own(tmp_path: Path) -> None:
    one = Unfinished(tmp_path, seconds=0)
    for turn, value in enumerate([1.0, 2.0]):
        assert one.begin(f"part {turn}") is None
        one.keep(state(value))
    assert kept(tmp_path) == [1, 2]
    two = Unfinished(tmp_path, seconds=0)
    assert two.begin("part 0") == {"x": torch.tensor(1.0)}
    assert two.begin("part 1") == {"x": torch.tensor(2.0)}
    assert two.begin("part 2") is None


def test_states_are_written_when_they_are_due_and_at_the_end(tmp_path: Path) -> None:
    rare = Unfinished(tmp_path, seconds=1e9)
    rare.begin("x")
    rare.keep(state(1.0))
    assert kept(tmp_path) == []
    rare.keep(state(2.0), done=True)
    assert kept(tmp_path) == [2]


def test_keeping_takes_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(unfinished.time, "monotonic", lambda: clock[0])

    def slow():
        clock[0] += 10
        return {"x": torch.tensor(clock[0])}

    one = Unfinished(tmp_path, seconds=1)
    one.begin("x")
    written = 0
    for _ in range(1000):
        clock[0] += 1
        before = clock[0]
        one.keep(slow)
        written += clock[0] > before
    assert 10 * written <= 0.06 * clock[0]
    assert written > 1


@pytest.mark.parametrize("damage", [b"", b"rubbish"])
def test_a_file_that_is_no_state_is_said_to_be(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "000.safetensors").write_bytes(damage)
    with pytest.raises(MethodError, match=r"is no state of a fit.*Delete"):
        Unfinished(tmp_path, seconds=0).begin("x")


def test_the_state_of_another_fit_is_refused_and_left(tmp_path: Path) -> None:
    one = Unfinished(tmp_path, seconds=0)
    one.begin("mine")
    one.keep(state(1.0))
    with pytest.raises(MethodError, match="is of another fit: expected yours"):
        Unfinished(tmp_path, seconds=0).begin("yours")
    assert kept(tmp_path) == [1]


def test_the_folder_goes_once_the_fit_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "kept"

    def cut_off() -> None:
        keeper().begin("x")
        keeper().keep(state(1.0))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), resumable(folder, seconds=0):
        cut_off()
    assert keeper() is None
    assert kept(folder) == [1]
    with resumable(folder):
        assert keeper().begin("x") == {"x": torch.tensor(1.0)}
    assert not folder.exists()
    with resumable(folder):
        pass  # a fit that keeps nothing leaves nothing
    assert not folder.exists()


def test_only_states_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(b"precious")
    (tmp_path / "notes").mkdir()
    with resumable(tmp_path, seconds=0):
        keeper().begin("x")
        keeper().keep(state(1.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.safetensors", "notes"]


def test_a_full_disk_leaves_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Unfinished(tmp_path, seconds=0)
    one.begin("x")
    one.keep(state(1.0))

    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sepme.io.atomic.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        one.keep(state(2.0), done=True)
    assert kept(tmp_path) == [1]
