"""Many shifts in one file, and a ledger that keeps them so."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from sepme.core.concept import Concept
from sepme.core.shift import ConceptShift, Provenance
from sepme.core.text_shift import TextShift
from sepme.errors import ShiftFileError
from sepme.io.ledger_dir import LedgerDir
from sepme.io.saving import save_ledger
from sepme.io.shift_pack import load_pack, pack_bytes, pack_digests
from sepme.io.shift_store import PACKED_FROM, ShiftStore
from tests.shifts import BASE, SITES, make_shift, make_text_shift

SOME = [make_text_shift(f"c-{i}", seed=i, rank=1 + i % 3) for i in range(PACKED_FROM)]
CONTENT = pack_bytes(SOME)
METADATA = json.loads(CONTENT[8 : 8 + int.from_bytes(CONTENT[:8], "little")])["__metadata__"]
TENSORS = safetensors.torch.load(CONTENT)
ROWS = len(TENSORS["left"])


def at_real_size(name: str, seed: int) -> ConceptShift:
    """A map of rank 4 at the width of SD 1.x, serving its 32 sites."""
    draw = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(shape, generator=draw) for shape in ((768, 4), (4, 768)))
    sites = [
        f"down_blocks.{block}.attentions.{i}.transformer_blocks.0.attn2.to_{part}"
        for block in range(4)
        for i in range(4)
        for part in "kv"
    ]
    fit = {"exact": False, "rank": 4, "rows": 8, "separability": 0.0}
    config = {"lamb": 2.0, "weight": 10.0, "sentences": 8, "pool": 8, "rank": 4, "least": 0.05}
    return ConceptShift(
        (Concept(name, (name.replace("-", " "),), kind="style"),),
        TextShift(left, right, tuple(sites)),
        (),
        True,
        Provenance(BASE, "sepme-text", config, 0, {"sepme": "0", "torch": "2"}, fit),
    )


def refused(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    path.write_bytes(safetensors.torch.save(tensors, metadata=metadata))
    with pytest.raises(ShiftFileError, match="not a usable file of shifts") as info:
        load_pack(path, {shift.digest for shift in SOME} | {"x"})
    assert len(str(info.value).splitlines()) == 1


def test_round_trip(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    loaded = load_pack(tmp_path / "x", {shift.digest for shift in SOME})
    assert list(loaded.values()) == SOME
    assert pack_digests(tmp_path / "x") == tuple(shift.digest for shift in SOME)
    assert [shift.provenance.fit["rank"] for shift in loaded.values()][:3] == [1, 2, 3]


def test_shifts_of_other_origin_and_sites_share_a_file(tmp_path: Path) -> None:
    one, two = SOME[:2]
    fewer = replace(one, payload=replace(one.payload, sites=tuple(SITES)[:1]))
    other = replace(two, separable=True, decoupled_from=("blank",))
    (tmp_path / "x").write_bytes(pack_bytes([one, fewer, other]))
    loaded = load_pack(tmp_path / "x", {one.digest, fewer.digest, other.digest})
    assert list(loaded.values()) == [one, fewer, other]
    assert loaded[fewer.digest].payload.sites == fewer.payload.sites


def test_only_what_is_wanted_is_read(tmp_path: Path) -> None:
    spoiled = bytearray(CONTENT)
    spoiled[-1] ^= 1  # in the factors of the last shift
    (tmp_path / "x").write_bytes(spoiled)
    assert list(load_pack(tmp_path / "x", {SOME[3].digest}).values()) == [SOME[3]]
    assert load_pack(tmp_path / "x", {"0" * 64}) == {}
    with pytest.raises(ShiftFileError, match="damaged or was edited"):
        load_pack(tmp_path / "x", {SOME[-1].digest})


def test_a_thousand_concepts_at_real_size_take_at_most_25_mb(tmp_path: Path) -> None:
    shifts = [at_real_size(f"concept-{i}", i) for i in range(100)]
    LedgerDir.create(tmp_path, base=BASE, model="demo").erase(*shifts)
    taken = sum(path.stat().st_size for path in (tmp_path / "shifts").iterdir())
    header = taken - 100 * 2 * 4 * 768 * 4
    fixed = len(pack_bytes(shifts[:1])) - 2 * 4 * 768 * 4
    assert 10 * (taken - fixed) + fixed < 25e6
    assert header < 100 * 400
    alone = [len(pack_bytes([shift])) for shift in shifts[:2]]
    assert 10 * sum(alone) * 50 > 25e6  # inverse check: with its own header each, they do not fit


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sepme.spec", "sepme-shifts/2"),
        ("sepme.groups", "{}"),
        ("sepme.groups", "[]"),
        ("sepme.groups", "[{}]"),
        ("sepme.shifts", "[[]]"),
        ("sepme.shifts", '[["x",0,99999,[],[],[]]]'),
        ("sepme.shifts", '[["x",0,0,[],[],[]]]'),
        ("sepme.shifts", '[["x",-1,1,[],[],[]]]'),
        ("sepme.shifts", "[" * 50_000),
        ("sepme.groups", METADATA["sepme.groups"].replace('["rank"]', '[["rank"]]')),
        ("sepme.groups", METADATA["sepme.groups"].replace('["rank"]', '["rank","more"]')),
        ("sepme.groups", METADATA["sepme.groups"].replace('"sites":[', '"sites":[["x"],')),
        ("sepme.shifts", METADATA["sepme.shifts"].replace("[1]]", "[1,1]]")),
        ("sepme.shifts", METADATA["sepme.shifts"].replace("[1]]", "[[1]]]")),
    ],
)
def test_hostile_metadata(tmp_path: Path, key: str, value: str) -> None:
    assert METADATA[key] != value
    refused(tmp_path / "x", TENSORS, {**METADATA, key: value})


@pytest.mark.parametrize("name", ["left", "right"])
@pytest.mark.parametrize(
    "factor",
    [
        torch.tensor(1.0),
        torch.zeros(ROWS),
        torch.zeros(ROWS, 12, 1),
        torch.zeros(ROWS, 0),
        torch.zeros(ROWS, 5),
        torch.zeros(ROWS - 1, 12),
        torch.zeros(ROWS, 12, dtype=torch.float16),
        torch.zeros(ROWS, 12),
    ],
    ids=lambda factor: f"{factor.dtype}-{tuple(factor.shape)}",
)
def test_hostile_factors(tmp_path: Path, name: str, factor: torch.Tensor) -> None:
    refused(tmp_path / "x", {**TENSORS, name: factor}, METADATA)


def test_factors_of_half_a_byte(tmp_path: Path) -> None:
    header = json.loads(CONTENT[8 : 8 + int.from_bytes(CONTENT[:8], "little")])
    shape, size = list(TENSORS["left"].shape), TENSORS["left"].numel() // 2
    for part, name in enumerate(TENSORS):
        offsets = [part * size, (part + 1) * size]
        header[name] = {"dtype": "F4", "shape": shape, "data_offsets": offsets}
    text = json.dumps(header).encode()
    (tmp_path / "x").write_bytes(len(text).to_bytes(8, "little") + text + bytes(2 * size))
    with pytest.raises(ShiftFileError, match="got F4"):
        load_pack(tmp_path / "x", {SOME[0].digest})


def test_the_files_are_refused_for_what_was_changed(tmp_path: Path) -> None:
    """Inverse check: unchanged parts make a file that is read."""
    (tmp_path / "x").write_bytes(safetensors.torch.save(TENSORS, metadata=METADATA))
    assert list(load_pack(tmp_path / "x", {SOME[0].digest}).values()) == [SOME[0]]


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 100, CONTENT[:-1], CONTENT[:50]],
    ids=["empty", "foreign", "cut", "beginning"],
)
def test_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    for read in (lambda p: load_pack(p, {SOME[0].digest}), pack_digests):
        with pytest.raises(ShiftFileError):
            read(tmp_path / "x")


def test_few_shifts_keep_a_file_each(tmp_path: Path) -> None:
    ledger_dir = LedgerDir.create(tmp_path, base=BASE, model="demo")
    ledger_dir.erase(*SOME[1:], make_shift("site"), allow_interference=True)
    assert len(list((tmp_path / "shifts").iterdir())) == PACKED_FROM
    ledger_dir.erase(*SOME, make_shift("site"), allow_interference=True)
    names = sorted(path.name for path in (tmp_path / "shifts").iterdir())
    assert len(names) == 2
    assert names[1] == "site.safetensors"
    assert set(LedgerDir(tmp_path).shifts().values()) == {*SOME, make_shift("site")}


def test_a_shift_of_a_shared_file_can_be_replaced_and_the_file_goes_with_the_last(
    tmp_path: Path,
) -> None:
    ledger_dir = LedgerDir.create(tmp_path, base=BASE, model="demo")
    ledger_dir.erase(*SOME, allow_interference=True)
    (shared,) = (tmp_path / "shifts").iterdir()
    new = make_text_shift("c-0", seed=99)
    ledger_dir.erase(new, allow_interference=True)
    assert LedgerDir(tmp_path).shift("c-0") == new != SOME[0]
    assert LedgerDir(tmp_path).shift("c-1") == SOME[1]
    ledger_dir.erase(*SOME, allow_interference=True)  # and back again
    assert LedgerDir(tmp_path).shift("c-0") == SOME[0]
    others = [make_text_shift(f"c-{i}", seed=100 + i) for i in range(PACKED_FROM)]
    ledger_dir.erase(*others, allow_interference=True)
    assert not shared.exists()
    assert set(LedgerDir(tmp_path).shifts().values()) == set(others)


def test_a_staged_file_counts_only_if_the_ledger_says_so(tmp_path: Path) -> None:
    ledger_dir = LedgerDir.create(tmp_path, base=BASE, model="demo")
    ledger_dir.erase(SOME[0])
    store = ShiftStore(tmp_path / "shifts")
    others = [make_text_shift(f"c-{i}", seed=100 + i) for i in range(PACKED_FROM)]
    store.stage(others)  # killed before the operation was on record
    assert LedgerDir(tmp_path).shift("c-0") == SOME[0]
    ledger_dir.restore("c-0")
    assert [path.name for path in store.folder.iterdir()] == ["c-0.safetensors"]
    assert LedgerDir(tmp_path).shift("c-0") == SOME[0]


def test_a_kill_before_publishing_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger_dir = LedgerDir.create(tmp_path, base=BASE, model="demo")
    with monkeypatch.context() as killed:
        killed.setattr(LedgerDir, "_publish", lambda self: None)
        ledger_dir.erase(*SOME, allow_interference=True)
    assert all(p.name.endswith(".staged") for p in (tmp_path / "shifts").iterdir())
    assert set(LedgerDir(tmp_path).shifts().values()) == set(SOME)
    ledger_dir.restore("c-3")
    assert not any(p.name.endswith(".staged") for p in (tmp_path / "shifts").iterdir())
    assert set(LedgerDir(tmp_path).shifts().values()) == set(SOME)


def test_saving_many_takes_few_operations(tmp_path: Path) -> None:
    ledger = LedgerDir.create(tmp_path / "a", base=BASE, model="demo")
    ledger.erase(*SOME, allow_interference=True)
    state = ledger.restore("c-3", "c-5")
    held = {shift.digest: shift for shift in SOME}
    saved = save_ledger(tmp_path / "b", state, held, model="demo")
    assert saved.ledger == state
    assert len(saved.history()) == 4  # made, two erased, these restored, the others erased
    assert len(save_ledger(tmp_path / "b", state, held, model="demo").history()) == 4


def test_restoring_one_of_many_imports_no_torch(tmp_path: Path) -> None:
    LedgerDir.create(tmp_path, base=BASE, model="demo").erase(*SOME, allow_interference=True)
    lines = (
        "import sys; from sepme.io.ledger_dir import LedgerDir",
        f"LedgerDir({str(tmp_path)!r}).restore('c-1'); assert 'torch' not in sys.modules",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)
