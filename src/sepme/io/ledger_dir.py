"""A ledger in a folder, safe against kills and other writers; needs no torch but for shifts."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from sepme.core.entry import Entry
from sepme.core.ledger import Ledger
from sepme.errors import LedgerError, shown
from sepme.io.atomic import TEMPORARY_SUFFIX, write_atomic
from sepme.io.history import History, Record
from sepme.io.ledger_state import HISTORY_NAME, SNAPSHOT_NAME, LedgerState
from sepme.io.shift_store import ShiftStore

if TYPE_CHECKING:
    from sepme.core.shift import ConceptShift

_LOG = logging.getLogger(__name__)
_LOCK_NAME = ".lock"
_SHIFTS_NAME = "shifts"
_STATISTICS_NAME = "statistics"
_OWN_NAMES = {_LOCK_NAME, _SHIFTS_NAME, _STATISTICS_NAME, HISTORY_NAME, SNAPSHOT_NAME}


class LedgerDir:
    """A ledger kept in a folder, with its shifts and its history.

    ``history.jsonl`` is the truth and is written ahead: an operation happens when its one line is
    on the disk. ``ledger.json`` is the state that line leads to, and ``shifts/`` holds one file
    per shift. Every writer first finishes what a killed one left, under a lock. So a kill at any
    instant leaves the old or the new state, and nothing that was reported done is lost. Readers
    write nothing.

    Attributes:
        path: The folder.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     ledger_dir = LedgerDir.create(folder, base="sha256:0", model="demo")
        ...     LedgerDir(folder).model, ledger_dir.ledger.erased
        ('demo', ())
    """

    def __init__(self, path: str | Path, *, timeout: float = 10.0) -> None:
        """Open an existing ledger; nothing is written.

        Args:
            path: The folder.
            timeout: How long operations wait for another writer, in seconds.

        Raises:
            LedgerError: If there is no ledger.
            LedgerCorrupt: If its files contradict each other.
        """
        self.path = Path(path)
        self._timeout = timeout
        with _one_line(self.path):
            self._state = LedgerState.read(self.path)

    @classmethod
    def create(cls, path: str | Path, *, base: str, model: str, timeout: float = 10.0) -> LedgerDir:
        """Start a ledger in a new or empty folder.

        Args:
            path: The folder; made if it does not exist.
            base: Fingerprint of the base model.
            model: Where the base model is loaded from.
            timeout: How long operations wait for another writer, in seconds.

        Returns:
            The ledger.

        Raises:
            LedgerError: If the folder holds a ledger or anything else.
        """
        path = Path(path)
        with _one_line(path):
            path.mkdir(parents=True, exist_ok=True)
            _check_is_ours(path)
            with _locked(path, timeout):
                history = History.read(path / HISTORY_NAME)
                if history.records:
                    raise LedgerError(f"{path} already holds a ledger. Open it instead.")
                event = {"event": "create", "base": base, "model": model}
                history.append(history.following(event))
                ledger_dir = cls(path, timeout=timeout)
                ledger_dir._publish()
        return ledger_dir

    @property
    def ledger(self) -> Ledger:
        """What is erased, as of opening or of the last operation made here."""
        return self._state.ledger

    @property
    def model(self) -> str:
        """Where the base model is loaded from."""
        return self._state.model

    @property
    def statistics(self) -> Path:
        """Where fits for this ledger may keep what they work out; not part of its state."""
        return self.path / _STATISTICS_NAME

    def history(self) -> tuple[Record, ...]:
        """Every operation, oldest first, as of opening or of the last operation made here."""
        return self._state.history.records

    def shift(self, name: str) -> ConceptShift:
        """Load the shift of a concept, restored or not.

        Args:
            name: The concept's name, or names joined by "+" for concepts erased jointly.

        Returns:
            The shift, checked against the ledger.

        Raises:
            NotErased: If the ledger never held the concept.
            ShiftFileError: If the file is missing or is not that shift.
        """
        return self._shifts.load(self.ledger.entry(name))

    def shifts(self) -> dict[str, ConceptShift]:
        """Load every shift, of restored concepts too, at once.

        Returns:
            Digest to shift, each checked against the ledger.

        Raises:
            ShiftFileError: If a file is missing or is not that shift.
        """
        return self._shifts.load_all(self.ledger.entries)

    def erase(
        self,
        *shifts: ConceptShift,
        strength: float = 1.0,
        reason: str | None = None,
        allow_interference: bool = False,
        still: Collection[str] = (),
    ) -> Ledger:
        """Erase concepts, all or none of them.

        Args:
            shifts: Shifts fitted on this ledger's base.
            strength: As in `Ledger.erase`.
            reason: Free text for the history.
            allow_interference: As in `Ledger.erase`.
            still: Names that were erased when this was begun, and must not have been given back by
                another writer since.

        Returns:
            The new ledger.

        Raises:
            BaseMismatch: If a shift was fitted on another base.
            Interference: If a shift would disturb, or split, one that is active.
            LedgerError: If a name in ``still`` was given back, or the folder cannot be locked or
                written; nothing has changed then.
        """
        with self._writing() as state:
            if back := sorted(set(still) - set(state.ledger.erased)):
                raise LedgerError(
                    f"{back[0]!r} was given back by someone else in the meantime, and is left so. "
                    "Run the same command again for the others."
                )
            state.ledger.erase_all(shifts, strength, allow_interference=allow_interference)
            entries = [Entry.of(shift, strength) for shift in shifts]
            self._shifts.stage(shifts)
            event = {"event": "erase", "entries": [entry.to_dict() for entry in entries]}
            return self._commit(state, event, reason)

    def restore(self, *names: str, reason: str | None = None) -> Ledger:
        """Give concepts back, all or none of them; their shifts are kept.

        Args:
            names: As in `Ledger.restore`.
            reason: Free text for the history.

        Returns:
            The new ledger.

        Raises:
            NotErased: If one of them is not erased.
            NotSeparable: If one was erased jointly with another that is not named.
            LedgerError: If the folder cannot be locked or written; nothing has changed then.
        """
        with self._writing() as state:
            restored = set(state.ledger.erased) - set(state.ledger.restore(*names).erased)
            event = {"event": "restore", "concepts": sorted(restored)}
            return self._commit(state, event, reason)

    @property
    def _shifts(self) -> ShiftStore:
        return ShiftStore(self.path / _SHIFTS_NAME)

    @contextmanager
    def _writing(self) -> Iterator[LedgerState]:
        with _one_line(self.path), _locked(self.path, self._timeout):
            self._state = LedgerState.read(self.path)
            self._publish()
            yield self._state

    def _commit(self, state: LedgerState, event: Mapping[str, Any], reason: str | None) -> Ledger:
        self._state = state.following({**event, "reason": reason})
        try:
            self._publish()
        except OSError as error:  # the operation is on record; the next writer publishes it
            _LOG.warning("%s: recorded, but the snapshot is late: %s", self.path, error)
        return self.ledger

    def _publish(self) -> None:
        """Bring the other files up to the history."""
        self._shifts.publish(self.ledger.entries)
        snapshot, path = self._state.snapshot(), self.path / SNAPSHOT_NAME
        if not path.exists() or path.read_bytes() != snapshot:
            write_atomic(path, snapshot)
        for leftover in self.path.glob(f".*{TEMPORARY_SUFFIX}"):
            leftover.unlink(missing_ok=True)


def _check_is_ours(path: Path) -> None:
    names = {item.name for item in path.iterdir() if not item.name.endswith(TEMPORARY_SUFFIX)}
    if foreign := sorted(names - _OWN_NAMES):
        raise LedgerError(
            f"{path} is not empty: it holds {shown(foreign[0])}. "
            "Choose a new folder for the ledger."
        )


@contextmanager
def _locked(path: Path, timeout: float) -> Iterator[None]:
    lock = path / _LOCK_NAME
    try:
        with FileLock(lock, timeout=timeout):
            yield
    except Timeout as error:
        raise LedgerError(
            f"another process has been writing to {path} for {timeout:g} seconds (it holds "
            f"{lock}). Wait for it to finish and try again."
        ) from error


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LedgerError(f"cannot use ledger {path}: {error.strerror or error}.") from error
