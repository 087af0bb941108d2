"""Opening the ledger a command was pointed at."""

from __future__ import annotations

from pathlib import Path

from sepme.errors import LedgerError
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
    if required or any((folder / name).exists() for name in (HISTORY_NAME, SNAPSHOT_NAME)):
        return LedgerDir(folder)
    if folder.exists() and not folder.is_dir():
        raise LedgerError(f"{folder} is a file. Choose a folder for the ledger.")
    return None
