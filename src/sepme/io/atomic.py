"""Files that are either the old or the new, whenever the power goes."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

TEMPORARY_SUFFIX = ".tmp"
"""Ending of files that only a killed writer leaves behind; safe to delete."""


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file in one step that survives a kill or a power cut.

    Args:
        path: The file; its folder must exist.
        data: Its new content.

    Raises:
        OSError: If the disk is full or the folder is not writable; the old file is then intact.
    """
    temporary = path.with_name(f".{uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can.

    Args:
        path: The folder.

    Raises:
        OSError: If it cannot be opened or synced.
    """
    if os.name == "nt":  # Windows has no handle to a folder that can be synced
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
