"""``sepme generate``: names, metadata, nothing overwritten."""

from pathlib import Path

import pytest
from PIL import Image

from sepme.cli.images import slug
from sepme.io.ledger_dir import LedgerDir
from tests.unit.cli.conftest import Cli


def test_pictures_tell_how_they_were_made(cli: Cli, ledger: Path, tmp_path: Path) -> None:
    words = ("generate", "an owl", "猫 | ../x", "--ledger", ledger, "--steps", 2, "--seed", 5)
    ended = cli(*words, "--out", tmp_path / "pics", "--json")
    assert ended.code == 0
    files = [Path(row["file"]) for row in ended.data["images"]]
    assert [file.name for file in files] == ["000-an-owl.png", "001-x.png"]
    with Image.open(files[1]) as image:
        assert image.text["prompt"] == "猫 | ../x"
        assert image.text["seed"] == "5"
        assert image.text["steps"] == "2"
        assert image.text["ledger"] == LedgerDir(ledger).ledger.digest
    again = cli(*words, "--out", tmp_path / "pics", "--json")
    names = [Path(row["file"]).name for row in again.data["images"]]
    assert names == ["002-an-owl.png", "003-x.png"]


def test_the_ledger_changes_the_picture(cli: Cli, tiny: Path, ledger: Path, tmp_path: Path) -> None:
    files = []
    for place, words in enumerate((["--ledger", ledger], ["--model", tiny], ["--model", tiny])):
        out = tmp_path / str(place)
        assert cli("generate", "owl", *words, "--steps", 4, "--out", out).code == 0
        with Image.open(out / "000-owl.png") as image:
            files.append(image.tobytes())
    assert files[1] == files[2]
    assert files[0] != files[1]


def test_out_must_be_a_folder(cli: Cli, ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = cli("generate", "owl", "--ledger", ledger, "--out", tmp_path / "file")
    assert "expects a folder" in ended.one_error(2)


@pytest.mark.parametrize(
    ("prompt", "name"), [("A cat, by Van Gogh!", "a-cat-by-van-gogh"), ("x" * 99, "x" * 60)]
)
def test_slug(prompt: str, name: str) -> None:
    assert slug(prompt) == name
