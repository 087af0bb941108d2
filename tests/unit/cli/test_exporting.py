"""``sepme export``: what it writes, what it refuses to overwrite."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from sepme.cli.exporting import _ARCHITECTURES, _text_width
from sepme.core.factor_shift import FactorShift
from tests.unit.cli.conftest import Cli


@pytest.mark.parametrize("format", ["diffusers-lora", "kohya"])
def test_lora_formats_are_one_file(cli: Cli, ledger: Path, tmp_path: Path, format: str) -> None:
    ended = cli("export", "--ledger", ledger, "--format", format, "--out", tmp_path / "o", "--json")
    assert ended.data["concepts"] == ["fig", "owl"]
    path = tmp_path / "o" / "pytorch_lora_weights.safetensors"
    assert ended.data["path"] == str(path)
    with safe_open(path, framework="pt") as file:
        assert all(key.startswith("lora_unet_") for key in file.keys())  # noqa: SIM118
        assert [c["name"] for c in json.loads(file.metadata()["sepme.concepts"])] == ["fig", "owl"]


def test_named_concepts_only_even_restored_ones(cli: Cli, ledger: Path, tmp_path: Path) -> None:
    cli("restore", "owl", "--ledger", ledger)
    words = ("export", "--ledger", ledger, "--json", "--out")
    assert cli(*words, tmp_path / "a.safetensors").data["concepts"] == ["fig"]
    named = cli(*words, tmp_path / "b.safetensors", "--concept", "owl")
    assert named.data["concepts"] == ["owl"]
    assert "Did you mean" in cli(*words, tmp_path / "c", "--concept", "owll").one_error(2)


def test_nothing_to_export(cli: Cli, ledger: Path, tmp_path: Path) -> None:
    cli("restore", "owl", "fig", "--ledger", ledger)
    assert "nothing" in cli("export", "--ledger", ledger, "--out", tmp_path / "a").one_error(1)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("format", ["diffusers-lora", "checkpoint"])
def test_nothing_is_overwritten(cli: Cli, ledger: Path, tmp_path: Path, format: str) -> None:
    mine = tmp_path / "o" / "pytorch_lora_weights.safetensors"
    mine.parent.mkdir()
    mine.write_text("mine")
    ended = cli("export", "--ledger", ledger, "--format", format, "--out", tmp_path / "o")
    assert "exists already" in ended.one_error(1)
    assert mine.read_text() == "mine"
    assert [path.name for path in tmp_path.rglob("*.tmp")] == []


def test_checkpoint(cli: Cli, ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()  # an empty folder will do
    words = ("export", "--ledger", ledger, "--format", "checkpoint", "--out", tmp_path / "o")
    ended = cli(*words, "--json")
    assert ended.data["concepts"] == ["fig", "owl"]
    names = {path.name for path in (tmp_path / "o").iterdir()}
    assert {"model_index.json", "README.md", "sepme.json", "unet"} <= names
    assert not list(tmp_path.glob(".*"))
    assert not list((tmp_path / "o").rglob("*.bin"))


def test_a_text_map_is_exported_with_the_weights_of_its_model(
    cli: Cli, tiny: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "ledger", tmp_path / "o.safetensors"
    words = ("erase", "owl", "--method", "uce", "--model", tiny, "--ledger", folder, "-q")
    assert cli(*words).code == 0
    export = ("export", "--ledger", folder, "--out", out)
    error = cli(*export, "--model", "demo").one_error(5)
    assert "fitted on base" in error
    assert not out.exists()
    assert cli(*export, "--json").data["concepts"] == ["owl"]
    with safe_open(out, framework="pt") as file:
        names = list(file.keys())
        assert len([name for name in names if name.endswith("lora_up.weight")]) == 8


@pytest.mark.parametrize(("width", "architecture"), [(768, "sd1"), (1024, "sd2"), (2048, "sdxl")])
def test_factors_tell_the_family_by_their_text_sites(width: int, architecture: str) -> None:
    left = {"a.attn2.to_v": torch.ones(2, 1), "a.ff.net.2": torch.ones(2, 1)}
    right = {"a.attn2.to_v": torch.ones(1, width), "a.ff.net.2": torch.ones(1, 1024)}
    assert _text_width(FactorShift(left, right)) == width
    assert _ARCHITECTURES.get(width, "sd1") == architecture
    other = FactorShift({"b": torch.ones(2, 1)}, {"b": torch.ones(1, 1024)})
    assert _text_width(other) == 0  # inverse check: it reads no text
