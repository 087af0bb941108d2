"""Writes a ledger that was kept in memory into a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sepme.core.entry import Entry
from sepme.core.ledger import Ledger
from sepme.core.shift import ConceptShift
from sepme.errors import BaseMismatch, LedgerError
from sepme.io.ledger_dir import LedgerDir


def save_ledger(
    path: str | Path,
    ledger: Ledger,
    shifts: Mapping[str, ConceptShift],
    *,
    model: str,
    reason: str | None = None,
) -> LedgerDir:
    """Bring a ledger directory up to a ledger.

    Args:
        path: A new folder, or one this ledger already lives in.
        ledger: What is erased and restored.
        shifts: Digest to shift, for every entry of the ledger.
        model: Where the base model is loaded from.
        reason: Free text for the history.

    Returns:
        The ledger directory.

    Raises:
        BaseMismatch: If the folder holds the ledger of another base model.
        LedgerError: If it holds a concept that this ledger never held.
    """
    folder = Path(path)
    if (folder / "ledger.json").exists() or (folder / "history.jsonl").exists():
        directory = LedgerDir(folder)
        _check_ours(directory, ledger)
    else:
        directory = LedgerDir.create(folder, base=ledger.base, model=model)
    there = {entry.name: entry for entry in directory.ledger.entries}
    for entry in ledger.entries:
        _bring_up(directory, entry, there.get(entry.name), shifts[entry.shift], reason)
    return directory


def _check_ours(directory: LedgerDir, ledger: Ledger) -> None:
    if directory.ledger.base != ledger.base:
        raise BaseMismatch(
            f"{directory.path} is for base {directory.ledger.base}, this model is "
            f"{ledger.base}. Save into a new folder."
        )
    own = {entry.name for entry in ledger.entries}
    if strange := [entry.name for entry in directory.ledger.entries if entry.name not in own]:
        raise LedgerError(
            f"{directory.path} holds {strange[0]!r}, which this pipeline has never held. "
            "Open that ledger before changing it, or save into a new folder."
        )


def _bring_up(
    directory: LedgerDir,
    entry: Entry,
    there: Entry | None,
    shift: ConceptShift,
    reason: str | None,
) -> None:
    if there == entry:
        return
    if entry.active or there is None or there.shift != entry.shift:
        directory.erase(shift, strength=entry.strength, reason=reason, allow_interference=True)
    if not entry.active and directory.ledger.entry(entry.name).active:
        directory.restore(entry.name, reason=reason)
