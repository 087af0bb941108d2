"""The shift files of a ledger; needs no torch until one is written or loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sepme.core.entry import Entry
from sepme.errors import ShiftFileError
from sepme.io.atomic import TEMPORARY_SUFFIX, sync_folder, write_atomic
from sepme.io.shift_pack import pack_digests

if TYPE_CHECKING:
    from sepme.core.shift import ConceptShift

_STAGED = ".staged"
_MAX_STEM = 100
_PACK = "many++"

PACKED_FROM = 32
"""So many text shifts that come at once share a file."""


@dataclass(frozen=True, slots=True)
class ShiftStore:
    """A folder with one file per ledger entry, or per many that came at once.

    A shift is first staged beside the file it will replace, under a name that holds its digest;
    which staged files count is decided by the ledger alone. A staged file is always whole: one
    that is torn could stand before the good file of a shift that is erased a second time.

    `PACKED_FROM` text shifts or more that come at once share one file, named after its content:
    that takes one wait for the disk, and a fraction of the room for what they share.

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
        from sepme.io.shift_pack import pack_bytes

        packed = _packed(shifts)
        for together in packed.values():
            data = pack_bytes(together)
            name = f"{_PACK}{hashlib.sha256(data).hexdigest()[:32]}.safetensors"
            write_atomic(self.folder / f"{name}{_STAGED}", data)
        for shift in shifts:
            if _width(shift) in packed:
                continue
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
        self._publish_packs({entry.shift: entry for entry in entries})
        packs = set(self.folder.glob(f"{_PACK}*"))
        for path in (*staged - packs, *self.folder.glob(f".*{TEMPORARY_SUFFIX}")):
            path.unlink(missing_ok=True)
        sync_folder(self.folder)

    def _publish_packs(self, entries: Mapping[str, Entry]) -> None:
        """Move files of many shifts into place, and delete those of which no entry is left.

        The files they replace go first: as long as one is staged, the next writer repeats this.
        A damaged file is kept where it is, for whoever can repair it.
        """
        for path in self.folder.glob(f"{_PACK}*"):
            try:
                live = [digest for digest in pack_digests(path) if digest in entries]
            except ShiftFileError:
                continue
            if not live:
                path.unlink(missing_ok=True)
            elif path.name.endswith(_STAGED):
                for digest in live:
                    self.path(entries[digest].name).unlink(missing_ok=True)
                sync_folder(self.folder)
                path.replace(path.with_name(path.name.removesuffix(_STAGED)))

    def load(self, entry: Entry) -> ConceptShift:
        """Read the shift of an entry, from the staged file if it was never moved into place.

        Args:
            entry: The entry.

        Returns:
            The shift.

        Raises:
            ShiftFileError: If there is no usable file, or it holds another shift.
        """
        return self.load_all([entry])[entry.shift]

    def load_all(self, entries: Iterable[Entry]) -> dict[str, ConceptShift]:
        """Read the shifts of some entries; a damaged file matters only if no other holds them.

        Args:
            entries: The entries.

        Returns:
            Digest to shift.

        Raises:
            ShiftFileError: As `load`.
        """
        wanted = {entry.shift: entry for entry in entries}
        found, damage = self._look(wanted)
        if missing := _without(wanted, found):  # readers take no lock: a writer may move files
            again, damage = self._look(missing)
            found |= again
        for digest, entry in _without(wanted, found).items():
            if damage:
                raise damage[0]
            found[digest] = self._load_alone(entry)
        return found

    def _look(
        self, wanted: Mapping[str, Entry]
    ) -> tuple[dict[str, ConceptShift], list[ShiftFileError]]:
        """What the folder holds of some shifts, and what is wrong with files of many.

        A shift's own file comes first: it may stand in for a damaged row of a file of many.
        """
        from sepme.io.shift_pack import load_pack

        found: dict[str, ConceptShift] = {}
        damage: list[ShiftFileError] = []
        listed = set(self.folder.glob("*"))
        for digest, entry in wanted.items():
            if not listed.isdisjoint((self._staged(entry.name, digest), self.path(entry.name))):
                with suppress(ShiftFileError):
                    found[digest] = self._load_alone(entry)
        for path in sorted(path for path in listed if path.name.startswith(_PACK)):
            if not (missing := _without(wanted, found)):
                break
            try:
                found |= load_pack(path, missing)
            except ShiftFileError as error:
                damage.append(error)
        return found, damage

    def _load_alone(self, entry: Entry) -> ConceptShift:
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


def _without(wanted: Mapping[str, Entry], found: Collection[str]) -> dict[str, Entry]:
    return {digest: entry for digest, entry in wanted.items() if digest not in found}


def _packed(shifts: Sequence[ConceptShift]) -> dict[int, list[ConceptShift]]:
    """Text shifts that are to share a file, by their width."""
    alike: dict[int, list[ConceptShift]] = {}
    for shift in shifts:
        if width := _width(shift):
            alike.setdefault(width, []).append(shift)
    return {width: some for width, some in alike.items() if len(some) >= PACKED_FROM}


def _width(shift: ConceptShift) -> int:
    """Width of the text space a map acts in; 0 for another shift."""
    from sepme.core.text_shift import TextShift

    return len(shift.payload.left) if isinstance(shift.payload, TextShift) else 0
