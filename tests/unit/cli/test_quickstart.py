"""``sepme quickstart``, with a verification of one image and a fit of three steps."""

from pathlib import Path

import pytest
from PIL import Image

from sepme.cli import quickstart
from sepme.io.ledger_dir import LedgerDir
from tests.shifts import make_shift
from tests.unit.cli.conftest import PRESET, Cli


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickstart, "_IMAGES", 1)
    monkeypatch.setattr("sepme.pipeline.ErasedPipeline.presets", {"sepme": PRESET})


@pytest.mark.slow
def test_twice_in_the_same_folder(cli: Cli, tmp_path: Path) -> None:
    for _ in range(2):
        ended = cli("quickstart", "--out", tmp_path)
        assert ended.code in (0, 3)
        assert "Traceback" not in ended.err
        assert "Try next" in ended.out
        assert LedgerDir(tmp_path / "ledger").ledger.erased == ("fluent", "van-gogh")
        with Image.open(tmp_path / "before-after.png") as picture:
            assert picture.size == (860, 432)
        assert (tmp_path / "report.html").exists()
    assert "skipped" in ended.err
    assert "no training" in ended.err


@pytest.mark.slow
def test_a_foreign_ledger_is_moved_aside(cli: Cli, tmp_path: Path) -> None:
    foreign = LedgerDir.create(tmp_path / "ledger", base="sha256:1", model="demo")
    foreign.erase(make_shift("van-gogh", base="sha256:1"))
    ended = cli("quickstart", "--out", tmp_path, "--json")
    assert ended.code in (0, 3)
    assert ended.data["erased"] == ["fluent", "van-gogh"]
    assert ended.data["restored"] == ["hokusai"]
    assert "moved to ledger.old-1" in ended.err
    assert LedgerDir(tmp_path / "ledger.old-1").ledger.erased == ("van-gogh",)


def test_out_must_be_a_folder(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "expects a folder" in cli("quickstart", "--out", tmp_path / "file").one_error(2)
