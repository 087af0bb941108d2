"""The ledger a command was pointed at."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from sepme.errors import LedgerError
from sepme.io.history import History
from sepme.io.ledger_dir import LedgerDir
from sepme.io.ledger_state import HISTORY_NAME, SNAPSHOT_NAME

if TYPE_CHECKING:
    from sepme.core.entry import Entry
    from sepme.core.shift import ConceptShift


class Held:
    """A ledger whose shifts are read once, all together, when the first is asked for.

    Args:
        directory: The ledger.
    """

    def __init__(self, directory: LedgerDir) -> None:
        """Read nothing yet."""
        self.directory = directory
        self._shifts: dict[str, ConceptShift] = {}

    def entry(self, name: str) -> Entry:
        """As `Ledger.entry`."""
        return self.directory.ledger.entry(name)

    def shift(self, entry: Entry) -> ConceptShift:
        """The shift of an entry.

        Args:
            entry: The entry.

        Raises:
            ShiftFileError: If a file is missing or is not that shift.
        """
        if entry.shift not in self._shifts:
            self._shifts = self.directory.shifts()
        return self._shifts[entry.shift]

    def erase(self, *shifts: ConceptShift, strength: float, still: Collection[str] = ()) -> None:
        """Erase concepts, all or none of them; what is in force as it is asked for is no event.

        Args:
            shifts: As `LedgerDir.erase`.
            strength: As `LedgerDir.erase`.
            still: As `LedgerDir.erase`.

        Raises:
            LedgerError: As `LedgerDir.erase`.
        """
        there = {(entry.shift, entry.strength) for entry in self.directory.ledger.active}
        if new := [shift for shift in shifts if (shift.digest, strength) not in there]:
            self.directory.erase(*new, strength=strength, still=still)
        self._shifts |= {shift.digest: shift for shift in shifts}


def existing_ledger(folder: Path, *, required: bool = False) -> LedgerDir | None:
    """The ledger in a folder, or None if one can be started there.

    Args:
        folder: The folder.
        required: Refuse a folder without a ledger.

    Raises:
        LedgerError: If the folder holds something else, or a damaged ledger.
    """
    if folder.exists() and not folder.is_dir():
        raise LedgerError(f"{folder} is a file. Choose a folder for the ledger.")
    begun = (folder / SNAPSHOT_NAME).exists() or History.read(folder / HISTORY_NAME).records
    return LedgerDir(folder) if required or begun else None
