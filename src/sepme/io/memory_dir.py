"""What fits have worked out, in a folder that can be deleted at any time."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from sepme.core.memory import remembered_by
from sepme.io.atomic import write_atomic

_LOG = logging.getLogger(__name__)
_SUFFIX = ".remembered"
_AT_ONCE = 64
"""So many new tensors are written without waiting for the end."""

_MOST_FILES = 32
"""From so many files on, they are made one."""


class MemoryDir:
    """Tensors by digest, in safetensors files that are named after their content.

    A file that is damaged counts as lost: what it held is worked out again. Files of other names
    are not looked at. Several processes can use one folder; each reads what it holds at first.

    Args:
        folder: Where; made with the first file.
    """

    def __init__(self, folder: Path) -> None:
        """Read nothing yet."""
        self._folder = folder
        self._old: dict[str, Tensor] = {}
        self._new: dict[str, Tensor] = {}
        self._read: set[Path] | None = None
        self._due = _AT_ONCE

    def recall(self, key: str) -> Tensor | None:
        """What was kept, as `sepme.core.memory.Memory.recall` says."""
        if self._read is None:
            self._look()
        return self._new.get(key, self._old.get(key))

    def keep(self, key: str, tensor: Tensor) -> None:
        """Keep a tensor, as `sepme.core.memory.Memory.keep` says."""
        self._new[key] = tensor.contiguous()
        if len(self._new) >= self._due:
            self.write()

    def write(self) -> None:
        """Write what is new, and make many files one.

        No fit is given up because this cannot be written: that is a warning.
        """
        if not self._new:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if len(self._files()) + 1 < _MOST_FILES:
                self._write(self._new)
            else:
                self._write_one()
        except OSError as error:
            self._due = len(self._new) + _AT_ONCE
            _LOG.warning("%s: %d results are not kept (%s).", self._folder, len(self._new), error)
            return
        self._old |= self._new
        self._new, self._due = {}, _AT_ONCE

    def _write_one(self) -> None:
        """Everything there is into one file; files that came up meanwhile are read first."""
        self._look()
        one = self._write(self._old | self._new)
        for path in (self._read or set()) - {one}:
            path.unlink(missing_ok=True)
        self._read = {one}

    def _write(self, tensors: dict[str, Tensor]) -> Path:
        data = safetensors.torch.save(tensors)
        path = self._folder / f"{_digest(data)}{_SUFFIX}"
        write_atomic(path, data)
        return path

    def _look(self) -> None:
        """Read the files that were not read yet."""
        seen = self._read or set()
        for path in self._files():
            if path not in seen:
                self._old |= _tensors(path)
                seen.add(path)
        self._read = seen

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_SUFFIX}"))


def _tensors(path: Path) -> dict[str, Tensor]:
    with suppress(OSError, SafetensorError):
        data = path.read_bytes()
        if _digest(data) == path.name.removesuffix(_SUFFIX):
            return safetensors.torch.load(data)
    if path.exists():  # it may be gone: another process has made many files one
        _LOG.warning("%s is damaged. What it held is worked out again.", path)
    return {}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


@contextmanager
def remembered(folder: str | Path) -> Iterator[None]:
    """Keep what fits made inside work out of single concepts, and use what was kept before.

    `sepme-text` reads about twenty prompts for every concept it erases or leaves alone, and pools
    them into a few rows (its sufficient statistics, which depend on nothing else). One more concept
    beside a thousand then costs the reading of one. A fit gives the same shift with or without;
    gates and other methods keep nothing.

    Args:
        folder: Where; made with the first file. It can be deleted at any time, and shared by
            processes and models.

    Example:
        >>> import sepme
        >>> model = sepme.load("demo")
        >>> with remembered("statistics"):  # doctest: +SKIP
        ...     shift = sepme.methods.METHODS["sepme-text"]().fit(model, sepme.demo.concepts()[0])
    """
    kept = MemoryDir(Path(folder))
    try:
        with remembered_by(kept):
            yield
    finally:
        kept.write()
