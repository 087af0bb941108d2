import json
import struct
from contextlib import suppress
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sepme.errors import ShiftFileError
from sepme.io import atomic
from sepme.io.shift_file import load_shift, save_shift, shift_bytes
from tests.shifts import make_dense_shift, make_factor_shift, make_shift, make_text_shift

SHIFT = make_shift("a", "b", separable=False)
CONTENT = shift_bytes(SHIFT)


def metadata_of(content: bytes) -> dict[str, str]:
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size])["__metadata__"]


def refused(path: Path, content: bytes, match: str = "is ") -> None:
    path.write_bytes(content)
    with pytest.raises(ShiftFileError, match=match) as info:
        load_shift(path)
    assert len(str(info.value).splitlines()) == 1


def test_round_trip(tmp_path: Path) -> None:
    save_shift(SHIFT, tmp_path / "x.safetensors")
    loaded = load_shift(tmp_path / "x.safetensors")
    assert loaded == SHIFT
    assert loaded.provenance.to_dict() == SHIFT.provenance.to_dict()
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_dense_round_trip(tmp_path: Path) -> None:
    shift = make_dense_shift("a", "b")
    save_shift(shift, tmp_path / "x.safetensors")
    assert load_shift(tmp_path / "x.safetensors") == shift
    assert metadata_of(shift_bytes(shift))["sepme.payload"] == '"dense"'


@pytest.mark.parametrize(
    "change",
    [
        {"changes.up.1.attn2.to_k": torch.full((7, 12), float("inf"))},
        {"changes.up.1.attn2.to_k": torch.zeros(7, 12, dtype=torch.float16)},
        {"changes.up.1.attn2.to_k": torch.zeros(84)},
        {"changes.../../x": torch.zeros(5, 2)},
        {"directions": torch.zeros(2, 12)},
    ],
)
def test_hostile_dense_tensors(tmp_path: Path, change: dict[str, torch.Tensor]) -> None:
    shift = make_dense_shift("a")
    metadata = metadata_of(shift_bytes(shift))
    tensors = {**shift.payload.tensors(), **change}
    refused(tmp_path / "x", safetensors.torch.save(tensors, metadata=metadata))
    refused(tmp_path / "x", safetensors.torch.save(change, metadata=metadata))


def test_a_text_map_round_trips(tmp_path: Path) -> None:
    shift = make_text_shift("a", "b")
    save_shift(shift, tmp_path / "x.safetensors")
    loaded = load_shift(tmp_path / "x.safetensors")
    assert loaded == shift
    assert loaded.payload.sites == shift.payload.sites
    assert loaded != make_text_shift("a", "b", seed=1)


@pytest.mark.parametrize(
    ("gone", "tensors"),
    [
        ("sites.up.1.attn2.to_k", {}),
        ("sites.up.1.attn2.to_k", {"sites.up.2.attn2.to_k": torch.empty(0)}),
        ("sites.up.1.attn2.to_k", {"sites.../x": torch.empty(0)}),
        ("sites.up.1.attn2.to_k", {"sites.up.1.attn2.to_k": torch.zeros(2**10)}),
        ("left", {}),
        ("left", {"left": torch.zeros(12, 3)}),
        ("left", {"left": torch.full((12, 2), float("inf"))}),
    ],
)
def test_hostile_text_map(tmp_path: Path, gone: str, tensors: dict[str, torch.Tensor]) -> None:
    shift = make_text_shift("a")
    kept = {name: t for name, t in shift.payload.tensors().items() if name != gone}
    metadata = metadata_of(shift_bytes(shift))
    refused(tmp_path / "x", safetensors.torch.save({**kept, **tensors}, metadata=metadata))


def test_factors_of_each_site_round_trip(tmp_path: Path) -> None:
    shift = make_factor_shift("a")
    save_shift(shift, tmp_path / "x.safetensors")
    assert load_shift(tmp_path / "x.safetensors") == shift
    assert metadata_of(shift_bytes(shift))["sepme.payload"] == '"factor"'


@pytest.mark.parametrize(
    ("gone", "tensors"),
    [
        ("left.up.1.attn2.to_k", {}),
        ("right.up.1.attn2.to_k", {}),
        ("right.up.1.attn2.to_k", {"right.up.2.attn2.to_k": torch.zeros(3, 12)}),
        ("right.up.1.attn2.to_k", {"right.up.1.attn2.to_k": torch.zeros(2, 12)}),
        ("right.up.1.attn2.to_k", {"right.up.1.attn2.to_k": torch.full((3, 12), float("nan"))}),
        ("left.up.1.attn2.to_k", {"factors.up.1.attn2.to_k": torch.zeros(7, 3)}),
    ],
)
def test_hostile_factors(tmp_path: Path, gone: str, tensors: dict[str, torch.Tensor]) -> None:
    shift = make_factor_shift("a")
    kept = {name: t for name, t in shift.payload.tensors().items() if name != gone}
    metadata = metadata_of(shift_bytes(shift))
    refused(tmp_path / "x", safetensors.torch.save({**kept, **tensors}, metadata=metadata))


def test_any_reader_can_open_it(tmp_path: Path) -> None:
    save_shift(SHIFT, tmp_path / "x.safetensors")
    tensors = safetensors.torch.load_file(tmp_path / "x.safetensors")
    assert torch.equal(tensors["directions"], SHIFT.payload.directions)
    assert metadata_of(CONTENT)["format"] == "pt"
    assert metadata_of(CONTENT)["sepme.digest"] == SHIFT.digest


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "x", tmp_path):
        with pytest.raises(ShiftFileError):
            load_shift(path)
    with pytest.raises(ShiftFileError, match="cannot write"):
        save_shift(SHIFT, tmp_path / "no" / "x")


def test_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_shift(SHIFT, tmp_path / "x")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(ShiftFileError, match="No space left"):
        save_shift(make_shift("c"), tmp_path / "x")
    assert load_shift(tmp_path / "x") == SHIFT


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x00" * 8,
        b"\xff" * 100,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 17 * 2**20) + b"{" + b" " * 100,
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        CONTENT[: len(CONTENT) // 2],
        CONTENT[:-1],
        CONTENT + b"x",
    ],
)
def test_damaged(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path / "x", content)


def test_absurd_shape(tmp_path: Path) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}})
    refused(tmp_path / "x", struct.pack("<Q", len(header)) + header.encode() + b"\0" * 4)


def test_foreign_safetensors(tmp_path: Path) -> None:
    refused(tmp_path / "x", safetensors.torch.save({"w": torch.ones(2)}), "only shifts written")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sepme.spec", "sepme-shift/2"),
        ("sepme.concepts", "["),
        ("sepme.concepts", '[{"name":"../x","prompts":["x"],"anchor":"","kind":"style"}]'),
        ("sepme.concepts", "[" * 50_000),
        ("sepme.separable", "NaN"),
        ("sepme.separable", "true"),
        ("sepme.decoupled_from", '["..\\n.."]'),
        ("sepme.payload", '"dense"'),
        ("sepme.payload", "[]"),
        ("sepme.provenance", "{}"),
        ("sepme.digest", "0" * 64),
    ],
)
def test_hostile_metadata(tmp_path: Path, name: str, value: str) -> None:
    metadata = {**metadata_of(CONTENT), name: value}
    refused(tmp_path / "x", safetensors.torch.save(SHIFT.payload.tensors(), metadata=metadata))


@pytest.mark.parametrize("name", sorted(metadata_of(CONTENT).keys() - {"format"}))
def test_missing_metadata(tmp_path: Path, name: str) -> None:
    metadata = {k: v for k, v in metadata_of(CONTENT).items() if k != name}
    refused(tmp_path / "x", safetensors.torch.save(SHIFT.payload.tensors(), metadata=metadata))


@pytest.mark.parametrize(
    "tensors",
    [
        {"directions": torch.full((2, 12), float("nan"))},
        {"directions": torch.zeros(2, 12, dtype=torch.float64)},
        {"directions": torch.zeros(2, 12, dtype=torch.float8_e4m3fn)},
        {"directions": torch.zeros(3, 12)},
        {"factors.../../x": torch.zeros(5, 2)},
        {"extra": torch.zeros(1)},
    ],
)
def test_hostile_tensors(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    tensors = {**SHIFT.payload.tensors(), **tensors}
    refused(tmp_path / "x", safetensors.torch.save(tensors, metadata=metadata_of(CONTENT)))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_one_changed_byte_is_noticed(tmp_path: Path, position: int, change: int) -> None:
    content = bytearray(CONTENT)
    content[position] ^= change
    path = tmp_path / "x"
    path.write_bytes(content)
    with suppress(ShiftFileError):
        assert load_shift(path) == SHIFT  # whitespace, or a field nobody reads
