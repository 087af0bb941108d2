"""Writes a ledger that was kept in memory into a folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    changed = [entry for entry in ledger.entries if there.get(entry.name) != entry]
    for active in (False, True):
        some = [entry for entry in changed if entry.active is active]
        for batch in _batches(some):
            _bring_up(directory, batch, shifts, reason)
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


def _batches(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Entries that one operation can bring up: of one strength, none sharing a concept."""
    batches: list[list[Entry]] = []
    taken: list[tuple[float, set[str]]] = []
    for entry in entries:
        fits = (s == entry.strength and names.isdisjoint(entry.names) for s, names in taken)
        place = next((place for place, fit in enumerate(fits) if fit), len(batches))
        if place == len(batches):
            batches.append([])
            taken.append((entry.strength, set()))
        batches[place].append(entry)
        taken[place][1].update(entry.names)
    return batches


def _bring_up(
    directory: LedgerDir,
    batch: Sequence[Entry],
    shifts: Mapping[str, ConceptShift],
    reason: str | None,
) -> None:
    there = {entry.name: entry for entry in directory.ledger.entries}
    new = [
        shifts[entry.shift]
        for entry in batch
        if entry.active or entry.name not in there or there[entry.name].shift != entry.shift
    ]
    if new:
        strength = batch[0].strength
        directory.erase(*new, strength=strength, reason=reason, allow_interference=True)
    active = {entry.name for entry in directory.ledger.active}
    if given := [entry.name for entry in batch if not entry.active and entry.name in active]:
        directory.restore(*given, reason=reason)
