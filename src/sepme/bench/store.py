"""What a benchmark has drawn and fitted already, kept on disk by what it was made from."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from sepme.core.record import sha256_of
from sepme.errors import ShiftFileError
from sepme.io.atomic import write_atomic
from sepme.io.shift_file import load_shift, save_shift

if TYPE_CHECKING:
    from sepme.core.shift import ConceptShift

_LOG = logging.getLogger(__name__)
Pixels = npt.NDArray[np.uint8]
Key = Mapping[str, Any]
Entries = Mapping[str, bytes]
"""Files of a store by their names inside its folder."""


def default_folder() -> Path:
    """``$XDG_CACHE_HOME/sepme``, else ``.cache/sepme`` in the home folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sepme"


class Store:
    """Images and shifts by the circumstances that determine them, to the last bit.

    A key holds everything a result depends on, so an entry never goes stale; entries are written
    in one step, and one that is damaged counts as absent. Deleting the folder costs time only.

    Args:
        folder: Where to keep things; made if it does not exist.

    Attributes:
        folder: The same.
    """

    def __init__(self, folder: Path) -> None:
        """Make the folders."""
        self.folder = folder
        self._images, self._shifts = folder / "images", folder / "shifts"
        self._figures = folder / "figures"
        for part in (self._images, self._shifts, self._figures):
            part.mkdir(parents=True, exist_ok=True)

    def images(self, key: Key) -> Pixels | None:
        """Images drawn before.

        Args:
            key: What they were drawn from.

        Returns:
            ``(n, height, width, 3)``, or None if there are none.
        """
        path = self._images / f"{sha256_of(key)}.safetensors"
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                pixels: Pixels = file.get_tensor("pixels").numpy()
                written = (file.metadata() or {}).get("sha256")
        except (OSError, SafetensorError) as error:
            _damaged(path, str(error))
            return None
        if _digest(pixels) != written:
            _damaged(path, "its pixels are not the ones that were written")
            return None
        return pixels

    def keep_images(self, key: Key, pixels: Pixels) -> None:
        """Keep images.

        Args:
            key: What they were drawn from.
            pixels: ``(n, height, width, 3)``.

        Raises:
            OSError: If the disk is full.
        """
        tensors = {"pixels": torch.from_numpy(np.ascontiguousarray(pixels))}
        data = safetensors.torch.save(tensors, metadata={"sha256": _digest(pixels)})
        write_atomic(self._images / f"{sha256_of(key)}.safetensors", data)

    def shifts(self, key: Key) -> tuple[ConceptShift, ...] | None:
        """Shifts fitted before.

        Args:
            key: What they were fitted from.

        Returns:
            The shifts, or None if there are none.
        """
        index = self._shifts / f"{sha256_of(key)}.json"
        if not index.exists():
            return None
        try:
            digests = json.loads(index.read_text(encoding="utf-8"))
            found = tuple(load_shift(self._shifts / f"{digest}.safetensors") for digest in digests)
        except (OSError, ValueError, TypeError, ShiftFileError) as error:
            _damaged(index, str(error))
            return None
        if [shift.digest for shift in found] != digests:
            _damaged(index, "a shift is not the one that was written")
            return None
        return found

    def keep_shifts(self, key: Key, shifts: Sequence[ConceptShift]) -> None:
        """Keep shifts; they count from when the last of them is on the disk.

        Args:
            key: What they were fitted from.
            shifts: The shifts.

        Raises:
            ShiftFileError: If the disk is full.
        """
        for shift in shifts:
            save_shift(shift, self._shifts / f"{shift.digest}.safetensors")
        digests = json.dumps([shift.digest for shift in shifts])
        write_atomic(self._shifts / f"{sha256_of(key)}.json", digests.encode())

    def figures(self, key: Key) -> dict[str, Any] | None:
        """A result measured before, as JSON types.

        Args:
            key: What it was measured from.

        Returns:
            The result, or None if there is none.
        """
        path = self._figures / f"{sha256_of(key)}.json"
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["sha256"] != sha256_of(found["figures"]):
                raise ValueError("its figures are not the ones that were written")
        except (OSError, ValueError, TypeError, KeyError) as error:
            _damaged(path, str(error))
            return None
        figures: dict[str, Any] = found["figures"]
        return figures

    def keep_figures(self, key: Key, figures: dict[str, Any]) -> None:
        """Keep a result.

        Args:
            key: What it was measured from.
            figures: The result as JSON types.

        Raises:
            OSError: If the disk is full.
        """
        content = json.dumps({"sha256": sha256_of(figures), "figures": figures})
        write_atomic(self._figures / f"{sha256_of(key)}.json", content.encode())

    def entries(self) -> Entries:
        """Everything that is kept, to be added to another store: what an index names before it."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        files.sort(key=lambda path: (path.suffix == ".json", path))
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in files}

    def add(self, entries: Entries) -> None:
        """Keep what another store has kept.

        Args:
            entries: What its `entries` gave.

        Raises:
            OSError: If the disk is full.
        """
        for name, content in entries.items():
            write_atomic(self.folder / name, content)


def _digest(pixels: Pixels) -> str:
    shape = str(pixels.shape).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _damaged(path: Path, reason: str) -> None:
    _LOG.warning("%s is damaged and is made again: %s", path, reason)
