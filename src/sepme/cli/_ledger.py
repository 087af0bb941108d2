"""Opening the ledger a command was pointed at."""

from __future__ import annotations

from pathlib import Path

from sepme.errors import LedgerError
from sepme.io.history import History
from sepme.io.ledger_dir import LedgerDir
from sepme.io.ledger_state import HISTORY_NAME, SNAPSHOT_NAME


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
