"""The shift files of a ledger; needs no torch until one is written or loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sepme.core.entry import Entry
from sepme.errors import ShiftFileError
from sepme.io.atomic import TEMPORARY_SUFFIX, sync_folder, write_atomic

if TYPE_CHECKING:
    from sepme.core.shift import ConceptShift

_STAGED = ".staged"
_MAX_STEM = 100


@dataclass(frozen=True, slots=True)
class ShiftStore:
    """A folder with one file per ledger entry.

    A shift is first staged beside the file it will replace, under a name that holds its digest;
    which staged files count is decided by the ledger alone. A staged file is always whole: one
    that is torn could stand before the good file of a shift that is erased a second time.

    Attributes:
        folder: The folder.
    """

    folder: Path

    def path(self, name: str) -> Path:
        """File of an entry; long joint names are hashed.

        Args:
            name: The entry's name.

        Returns:
            Its path, whether or not it exists.

        Example:
            >>> ShiftStore(Path("shifts")).path("cat+dog").as_posix()
            'shifts/cat+dog.safetensors'
        """
        hashed = f"joint++{hashlib.sha256(name.encode()).hexdigest()[:32]}"
        return self.folder / f"{name if len(name) <= _MAX_STEM else hashed}.safetensors"

    def stage(self, shifts: Sequence[ConceptShift]) -> None:
        """Write shifts beside the files they will replace, and wait until they are on the disk.

        Args:
            shifts: The shifts.

        Raises:
            OSError: If the disk is full or the folder is not writable.
        """
        from sepme.io.shift_file import shift_bytes

        for shift in shifts:
            write_atomic(self._staged(shift.name, shift.digest), shift_bytes(shift))

    def publish(self, entries: Iterable[Entry]) -> None:
        """Move staged files that belong to an entry into place and delete the others.

        Args:
            entries: The ledger's entries.

        Raises:
            OSError: If the folder is not writable.
        """
        self.folder.mkdir(exist_ok=True)
        staged = set(self.folder.glob(f"*{_STAGED}"))
        for entry in entries:
            path = self._staged(entry.name, entry.shift)
            if path in staged:
                path.replace(self.path(entry.name))
                staged.remove(path)
        for path in (*staged, *self.folder.glob(f".*{TEMPORARY_SUFFIX}")):
            path.unlink(missing_ok=True)
        sync_folder(self.folder)

    def load(self, entry: Entry) -> ConceptShift:
        """Read the shift of an entry, from the staged file if it was never moved into place.

        Args:
            entry: The entry.

        Returns:
            The shift.

        Raises:
            ShiftFileError: If there is no usable file, or it holds another shift.
        """
        from sepme.io.shift_file import load_shift

        staged, path = self._staged(entry.name, entry.shift), self.path(entry.name)
        try:
            shift = load_shift(staged)
        except ShiftFileError:  # the usual case: it has been moved into place
            shift = load_shift(path)
        if shift.digest != entry.shift:
            raise ShiftFileError(
                f"{path} holds shift {shift.digest[:16]}, but the ledger lists {entry.shift[:16]}. "
                "Restore the file from a backup, or fit the concept again."
            )
        return shift

    def _staged(self, name: str, digest: str) -> Path:
        path = self.path(name)
        return path.with_name(f"{path.name}.{digest}{_STAGED}")
