"""What fits have worked out, on the disk."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sepme.core.memory import memory
from sepme.io import memory_dir
from sepme.io.memory_dir import MemoryDir, remembered


def number(value: float) -> Tensor:
    return torch.full((2, 3), value)


def write(folder: Path, **kept: float) -> None:
    one = MemoryDir(folder)
    for key, value in kept.items():
        one.keep(key, number(value))
    one.write()


def recall(folder: Path, key: str) -> float | None:
    found = MemoryDir(folder).recall(key)
    return None if found is None else float(found[0, 0])


def recall_one(path: Path) -> float:
    (tensor,) = load_file(path).values()
    return float(tensor[0, 0])


def test_what_is_kept_is_there_for_the_next(tmp_path: Path) -> None:
    write(tmp_path / "new", a=1, b=2)
    write(tmp_path / "new", c=3)
    assert [recall(tmp_path / "new", key) for key in "abcd"] == [1, 2, 3, None]
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_nothing_new_is_nothing_written(tmp_path: Path) -> None:
    write(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_many_files_become_one(tmp_path: Path) -> None:
    for turn in range(memory_dir._MOST_FILES - 1):
        write(tmp_path, **{f"k{turn}": turn})
    assert len(list(tmp_path.iterdir())) == memory_dir._MOST_FILES - 1  # inverse check
    write(tmp_path, last=99)
    assert len(list(tmp_path.iterdir())) == 1
    assert [recall(tmp_path, key) for key in ("k0", "k30", "last")] == [0, 30, 99]


def test_much_that_is_new_does_not_wait_for_the_end(tmp_path: Path) -> None:
    one = MemoryDir(tmp_path)
    for turn in range(memory_dir._AT_ONCE - 1):
        one.keep(f"k{turn}", number(turn))
    assert not any(tmp_path.iterdir())
    one.keep("more", number(1))
    assert recall(tmp_path, "more") == 1
    assert float(one.recall("k0")[0, 0]) == 0


@pytest.mark.parametrize("damage", [b"", b"x", None])
def test_a_damaged_file_counts_as_lost(
    tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, a=1)
    write(tmp_path, b=2)
    assert recall(tmp_path, "a") == 1  # inverse check
    paths = {recall_one(path): path for path in tmp_path.iterdir()}
    data = bytearray(paths[1].read_bytes())
    data[-1] ^= 1
    paths[1].write_bytes(bytes(data) if damage is None else damage)
    with caplog.at_level(logging.WARNING):
        assert recall(tmp_path, "a") is None
    assert "damaged" in caplog.text
    assert recall(tmp_path, "b") == 2
    write(tmp_path, a=3)
    assert recall(tmp_path, "a") == 3


def test_what_only_looks_whole_counts_as_lost(tmp_path: Path) -> None:
    data = b"no tensors"
    (tmp_path / f"{memory_dir._digest(data)}{memory_dir._SUFFIX}").write_bytes(data)
    assert recall(tmp_path, "a") is None


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    others = [tmp_path / name for name in ("owl.safetensors", "notes.txt")]
    for path in others:
        path.write_bytes(b"somebody's")
    for turn in range(memory_dir._MOST_FILES):
        write(tmp_path, **{f"k{turn}": turn})
    assert [path.read_bytes() for path in others] == [b"somebody's"] * 2
    assert recall(tmp_path, "k0") == 0


def test_what_another_process_has_kept_survives_the_merging(tmp_path: Path) -> None:
    slow = MemoryDir(tmp_path)
    assert slow.recall("k0") is None
    for turn in range(memory_dir._MOST_FILES - 1):
        write(tmp_path, **{f"k{turn}": turn})
    slow.keep("mine", number(7))
    slow.write()
    assert len(list(tmp_path.iterdir())) == 1
    assert [recall(tmp_path, key) for key in ("k0", "k30", "mine")] == [0, 30, 7]


def test_what_could_not_be_written_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.write_text("in the way")
    one = MemoryDir(folder)
    one.keep("a", number(1))
    one.write()
    assert float(one.recall("a")[0, 0]) == 1
    folder.unlink()
    one.write()
    assert recall(folder, "a") == 1


def test_a_fit_is_not_given_up_because_nothing_can_be_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING), remembered(tmp_path / "file"):
        memory().keep("a", number(1))
    assert "not kept" in caplog.text


def test_it_is_in_force_inside_only_and_written_after_an_interrupt(tmp_path: Path) -> None:
    def interrupted() -> None:
        with remembered(tmp_path):
            memory().keep("a", number(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert memory() is None
    assert recall(tmp_path, "a") == 1
