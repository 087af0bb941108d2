"""The files of a ledger's shifts: damaged ones, and ones that move while they are read."""

from pathlib import Path

import pytest

from sepme.core.shift import ConceptShift
from sepme.errors import ShiftFileError
from sepme.io import shift_pack
from sepme.io.ledger_dir import LedgerDir
from sepme.io.shift_store import PACKED_FROM
from tests.shifts import BASE, make_shift, make_text_shift

SOME = [make_text_shift(f"c-{i}", seed=i) for i in range(PACKED_FROM)]
OWL = make_shift("owl")


@pytest.fixture
def ledger_dir(tmp_path: Path) -> LedgerDir:
    """Many shifts in one file, and one in its own."""
    made = LedgerDir.create(tmp_path, base=BASE, model="demo")
    made.erase(*SOME, OWL, allow_interference=True)
    return made


def pack_of(ledger_dir: LedgerDir) -> Path:
    (path,) = (ledger_dir.path / "shifts").glob("many++*")
    return path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def spoil_the_first(path: Path) -> None:
    """Change the factors of the first shift; what the file claims to hold stays readable."""
    content = bytearray(path.read_bytes())
    content[8 + int.from_bytes(content[:8], "little")] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, spoil_the_first, lambda path: path.write_text("x")])
def test_a_damaged_file_stops_only_those_who_need_it(ledger_dir: LedgerDir, damage) -> None:
    path = pack_of(ledger_dir)
    damage(path)
    damaged = path.read_bytes()
    assert LedgerDir(ledger_dir.path).shift("owl") == OWL
    ledger_dir.restore("owl")
    ledger_dir.erase(make_shift("fig"), allow_interference=True)
    assert ledger_dir.shift("fig") == make_shift("fig")
    assert path.read_bytes() == damaged
    for read in (lambda: ledger_dir.shift("c-0"), ledger_dir.shifts):
        with pytest.raises(ShiftFileError, match="from a backup, or fit the concepts") as info:
            read()
        assert str(path) in str(info.value)
        assert len(str(info.value).splitlines()) == 1


@pytest.mark.parametrize("again", [SOME[:1], SOME], ids=["the-spoilt", "all"])
def test_fitting_again_mends_a_damaged_file(
    ledger_dir: LedgerDir, again: list[ConceptShift]
) -> None:
    spoil_the_first(pack_of(ledger_dir))
    with pytest.raises(ShiftFileError):
        ledger_dir.shifts()
    ledger_dir.erase(*again, allow_interference=True)
    ledger_dir.restore("owl")
    assert set(LedgerDir(ledger_dir.path).shifts().values()) == {*SOME, OWL}


def test_a_damaged_staged_file_is_kept_too(
    ledger_dir: LedgerDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [make_text_shift(f"c-{i}", seed=100 + i) for i in range(PACKED_FROM)]
    with monkeypatch.context() as killed:
        killed.setattr(LedgerDir, "_publish", lambda self: None)
        ledger_dir.erase(*others, allow_interference=True)
    (staged,) = (ledger_dir.path / "shifts").glob("many++*.staged")
    whole = staged.read_bytes()
    truncate(staged)
    ledger_dir.restore("owl")
    with pytest.raises(ShiftFileError, match="staged"):
        ledger_dir.shift("c-0")
    staged.write_bytes(whole)
    ledger_dir.erase(OWL, allow_interference=True)
    assert not staged.exists()
    assert set(LedgerDir(ledger_dir.path).shifts().values()) == {*others, OWL}


def test_no_file_is_opened_once_all_is_found(
    ledger_dir: LedgerDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened, load_pack = pack_of(ledger_dir), [], shift_pack.load_pack

    def noted(path: Path, wanted: object) -> dict[str, ConceptShift]:
        opened.append(path.name)
        return load_pack(path, wanted)

    monkeypatch.setattr(shift_pack, "load_pack", noted)
    for name in ("many++", "many++z"):  # before and behind the one that is wanted
        path.with_name(name).write_text("damaged")
    assert ledger_dir.shift("owl") == OWL
    assert opened == []
    assert ledger_dir.shift("c-0") == SOME[0]
    assert opened == ["many++", path.name]


def test_a_file_that_moves_once_it_is_listed_is_found(
    ledger_dir: LedgerDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, load_pack = pack_of(ledger_dir), shift_pack.load_pack
    staged = path.replace(path.with_name(f"{path.name}.staged"))

    def late(listed: Path, wanted: object) -> dict[str, ConceptShift]:
        if staged.exists():
            LedgerDir(ledger_dir.path).restore("c-3")
        return load_pack(listed, wanted)

    monkeypatch.setattr(shift_pack, "load_pack", late)
    assert set(ledger_dir.shifts().values()) == {*SOME, OWL}
    assert path.exists()


def test_a_file_that_is_gone_for_good_is_missed(
    ledger_dir: LedgerDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inverse check: looking again does not hide a loss."""
    load_pack = shift_pack.load_pack

    def gone(listed: Path, wanted: object) -> dict[str, ConceptShift]:
        listed.unlink()
        return load_pack(listed, wanted)

    monkeypatch.setattr(shift_pack, "load_pack", gone)
    with pytest.raises(ShiftFileError, match="No such file"):
        ledger_dir.shifts()
