"""What fits have worked out, in a folder that can be deleted at any time."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import safetensors.torch
from torch import Tensor

from sepme.core.memory import remembered_by
from sepme.io.atomic import write_atomic

_LOG = logging.getLogger(__name__)
_SUFFIX = ".safetensors"
_AT_ONCE = 64
"""So many new tensors are written without waiting for the end."""

_MOST_FILES = 32
"""From so many files on, they are made one."""


class MemoryDir:
    """Tensors by digest, in files named after their content.

    A file that is damaged counts as lost: what it held is worked out again.

    Args:
        folder: Where; made with the first file.
    """

    def __init__(self, folder: Path) -> None:
        """Read nothing yet."""
        self._folder = folder
        self._old: dict[str, Tensor] | None = None
        self._new: dict[str, Tensor] = {}

    def recall(self, key: str) -> Tensor | None:
        """What was kept, as `sepme.core.memory.Memory.recall` says."""
        return self._new.get(key, self._held().get(key))

    def keep(self, key: str, tensor: Tensor) -> None:
        """Keep a tensor, as `sepme.core.memory.Memory.keep` says."""
        self._new[key] = tensor.contiguous()
        if len(self._new) >= _AT_ONCE:
            self.write()

    def write(self) -> None:
        """Write what is new, and make many files one.

        No fit is given up because this cannot be written: that is a warning.
        """
        new, self._new = self._new, {}
        if not new:
            return
        self._old = self._held() | new
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            many = self._files()
            if len(many) + 1 < _MOST_FILES:
                self._write(new)
            else:
                one = self._write(self._old)
                for path in set(many) - {one}:
                    path.unlink(missing_ok=True)
        except OSError as error:
            _LOG.warning("%s: %d results are not kept (%s).", self._folder, len(new), error)

    def _write(self, tensors: dict[str, Tensor]) -> Path:
        data = safetensors.torch.save(tensors)
        path = self._folder / f"{hashlib.sha256(data).hexdigest()[:32]}{_SUFFIX}"
        write_atomic(path, data)
        return path

    def _held(self) -> dict[str, Tensor]:
        if self._old is None:
            self._old = {}
            for path in self._files():
                self._old |= _read(path)
        return self._old

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_SUFFIX}"))


def _read(path: Path) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
    except OSError:  # gone since it was listed, when another process made many files one
        return {}
    if hashlib.sha256(data).hexdigest()[:32] == path.name.removesuffix(_SUFFIX):
        return safetensors.torch.load(data)
    _LOG.warning("%s is damaged. What it held is worked out again.", path)
    with suppress(OSError):
        path.unlink()
    return {}


@contextmanager
def remembered(folder: str | Path) -> Iterator[None]:
    """Keep what fits made inside work out of single concepts, and use what was kept before.

    `sepme-text` reads about twenty prompts for every concept it erases or leaves alone, and pools
    them into a few rows (its sufficient statistics, which depend on nothing else). One more concept
    beside a thousand then costs the reading of one. A fit gives the same shift with or without;
    methods that keep nothing pay no heed to it.

    Args:
        folder: Where; made with the first file. It can be deleted at any time, and shared.

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
