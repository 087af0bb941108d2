"""What is kept comes back to the bit; what is damaged counts as absent."""

import logging
from pathlib import Path

import numpy as np
import pytest

from sepme.bench.store import Store, default_folder
from tests.shifts import make_shift

KEY = {"prompts": ["a cat"], "seeds": [1]}
PIXELS = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.rglob(pattern)
    return found


def test_images_come_back(tmp_path: Path) -> None:
    assert Store(tmp_path).images(KEY) is None
    Store(tmp_path).keep_images(KEY, PIXELS)
    assert np.array_equal(Store(tmp_path).images(KEY), PIXELS)


def test_entries_go_to_another_store(tmp_path: Path) -> None:
    one, two, shift = Store(tmp_path / "one"), Store(tmp_path / "two"), make_shift("cat")
    one.keep_shifts(KEY, [shift])
    one.keep_images(KEY, PIXELS)
    one.keep_figures(KEY, {"seconds": 1.5})
    entries = one.entries()
    *tensors, figures, index = entries
    assert {name.split("/")[0] for name in tensors} == {"shifts", "images"}
    assert (figures.split("/")[0], index.split("/")[0]) == ("figures", "shifts")
    two.add({name: entries[name] for name in tensors})
    assert np.array_equal(two.images(KEY), PIXELS)
    assert two.shifts(KEY) is two.figures(KEY) is None
    two.add({index: entries[index]})
    assert two.shifts(KEY) == (shift,)
    two.add(entries)
    assert two.entries().keys() == entries.keys()
    assert two.figures(KEY) == {"seconds": 1.5}


def test_another_key_is_another_image(tmp_path: Path) -> None:
    """Inverse check: every part of a key counts."""
    Store(tmp_path).keep_images(KEY, PIXELS)
    assert Store(tmp_path).images(KEY | {"seeds": [2]}) is None


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b[:-1] + b"\0", lambda b: b"{}"])
def test_damaged_images_count_as_absent(tmp_path: Path, caplog, spoil) -> None:
    store = Store(tmp_path)
    store.keep_images(KEY, PIXELS)
    path = only(tmp_path, "images/*.safetensors")
    path.write_bytes(spoil(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert store.images(KEY) is None
    assert "damaged" in caplog.text
    store.keep_images(KEY, PIXELS)
    assert np.array_equal(store.images(KEY), PIXELS)


def test_shifts_come_back(tmp_path: Path) -> None:
    shifts = (make_shift("a"), make_shift("b", seed=1))
    assert Store(tmp_path).shifts(KEY) is None
    Store(tmp_path).keep_shifts(KEY, shifts)
    found = Store(tmp_path).shifts(KEY)
    assert [shift.digest for shift in found] == [shift.digest for shift in shifts]


def test_damaged_shifts_count_as_absent(tmp_path: Path) -> None:
    store, shift = Store(tmp_path), make_shift("a")
    store.keep_shifts(KEY, (shift,))
    only(tmp_path, "shifts/*.safetensors").write_bytes(b"rubbish")
    assert store.shifts(KEY) is None
    store.keep_shifts(KEY, (shift,))
    only(tmp_path, "shifts/*.json").write_text("[3]")
    assert store.shifts(KEY) is None


def test_default_folder_follows_the_environment(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "sepme"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_folder() == tmp_path / "home" / ".cache" / "sepme"
