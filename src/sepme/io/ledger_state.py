"""What the files of a ledger say, read without writing; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sepme.core.ledger import Ledger
from sepme.core.ledger_fold import LedgerFold
from sepme.core.record import canonical_json, parse_json
from sepme.errors import LedgerCorrupt, LedgerError, shown
from sepme.io.history import History, Record

FORMAT = "sepme-ledger/1"
"""Format and version, written in ``ledger.json``."""

HISTORY_NAME = "history.jsonl"
SNAPSHOT_NAME = "ledger.json"


@dataclass(frozen=True, slots=True)
class LedgerState:
    """The fold of a verified history.

    Attributes:
        model: Where the base model is loaded from.
        ledger: What is erased.
        history: Everything that was done.
    """

    model: str
    ledger: Ledger
    history: History

    @classmethod
    def read(cls, folder: Path) -> LedgerState:
        """Fold the history and check that the snapshot is a state it went through.

        Args:
            folder: The ledger's folder.

        Returns:
            The state after the last finished record.

        Raises:
            LedgerError: If there is no ledger.
            LedgerCorrupt: If a file is malformed, was edited, or contradicts the other.
            OSError: If a file cannot be read.
        """
        snapshot = _read_snapshot(folder / SNAPSHOT_NAME)  # first: the history is never behind it
        history = History.read(folder / HISTORY_NAME)
        if not history.records:
            raise LedgerError(f"{folder} holds no ledger. Create one, or correct the path.")
        model, ledger = _created(history.records[0])
        confirmed = snapshot is None
        fold = LedgerFold(())
        for record in history.records:
            if record.seq:
                fold.apply(record.event)
            if snapshot and snapshot.get("head") == record.hash:
                then = replace(ledger, entries=fold.entries)
                confirmed = canonical_json(snapshot) == _snapshot(model, then, record.hash)
        if not confirmed:
            raise LedgerCorrupt(
                f"{folder / SNAPSHOT_NAME} contradicts {HISTORY_NAME}: one of them was edited. "
                f"Restore both from a backup, or delete {SNAPSHOT_NAME} to trust the history."
            )
        return cls(model, replace(ledger, entries=fold.entries), history)

    def following(self, event: Mapping[str, Any]) -> LedgerState:
        """The state after one more event, once the event is on the disk.

        Args:
            event: As for `Ledger.apply`.

        Returns:
            The new state.

        Raises:
            LedgerCorrupt: If the event cannot follow; nothing is written then.
            OSError: If the history cannot be written; it is as before then.
        """
        record = self.history.following(event)
        ledger = self.ledger.apply(event)
        return LedgerState(self.model, ledger, self.history.append(record))

    def snapshot(self) -> bytes:
        """Content of ``ledger.json`` for this state."""
        return _snapshot(self.model, self.ledger, self.history.head).encode() + b"\n"


def _snapshot(model: str, ledger: Ledger, head: str) -> str:
    return canonical_json({"format": FORMAT, "model": model, "head": head, **ledger.to_dict()})


def _read_snapshot(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    data = parse_json(path.read_bytes(), what=str(path), error=LedgerCorrupt)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise LedgerCorrupt(f"{path} is not a ledger of format {FORMAT!r}.")
    return data


def _created(record: Record) -> tuple[str, Ledger]:
    match record.event:
        case {"event": "create", "base": str(base), "model": str(model)}:
            return model, Ledger(base)
    raise LedgerCorrupt(f"a history must begin with its creation, got {shown(record.event)}.")
