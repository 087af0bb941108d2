"""A checkpoint appears whole or not at all, with a card."""

from pathlib import Path

import pytest

from sepme.errors import LedgerError
from sepme.io.checkpoint import card, save_checkpoint
from tests.shifts import make_shift, make_sparse_shift

SHIFTS = [(make_shift("van-gogh"), 1.0), (make_shift("x", seed=1), 0.5)]


class Pipeline:
    """Writes one file, then fails if told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def save_pretrained(self, save_directory: Path, *, safe_serialization: bool) -> None:
        assert safe_serialization
        (save_directory / "unet.safetensors").write_bytes(b"weights")
        if self.error:
            raise self.error


def test_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    save_checkpoint(out, Pipeline(), SHIFTS, model="demo", extra={"sepme.json": b"{}"})
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "sepme.json",
        "unet.safetensors",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["b"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError("bug")])
def test_a_failure_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    expected = LedgerError if isinstance(error, OSError) else KeyError
    with pytest.raises(expected):
        save_checkpoint(tmp_path / "out", Pipeline(error), SHIFTS, model="demo")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_there_stays(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
    mine = out if kind == "file" else out / "mine"
    mine.write_text("mine")
    with pytest.raises(LedgerError, match="exists already"):
        save_checkpoint(out, Pipeline(), SHIFTS, model="demo")
    assert mine.read_text() == "mine"


def test_the_card_says_what_and_what_not() -> None:
    text = card(SHIFTS, model="demo")
    assert "# Without van-gogh, x" in text
    assert SHIFTS[0][0].digest[:16] in text
    assert "| 0.5 |" in text
    assert "suppresses generation" in text
    assert "2603.06640" not in text
    sparse = make_sparse_shift("x")
    assert "2603.06640" in card([*SHIFTS, (sparse, 1.0)], model="demo")
    with pytest.raises(LedgerError, match="nothing to export"):
        card([], model="demo")
