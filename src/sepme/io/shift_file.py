"""Shifts as safetensors files, which any reader of the format can open."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sepme.core.record import canonical_json, parse_json
from sepme.core.shift import ConceptShift
from sepme.errors import SepmeError, ShiftFileError, shown
from sepme.io.atomic import write_atomic

SPEC = "sepme-shift/1"
"""Format and version, written in every file."""

_PREFIX = "sepme."
_PARTS = ("concepts", "decoupled_from", "separable", "payload", "provenance")
_MAX_HEADER_BYTES = 16 * 2**20


def shift_bytes(shift: ConceptShift) -> bytes:
    """Content of a shift's file.

    Args:
        shift: The shift.

    Returns:
        A safetensors file: the payload's tensors, and the rest of the shift as JSON in the
        metadata fields ``sepme.*``.
    """
    metadata = {_PREFIX + name: canonical_json(part) for name, part in shift.metadata().items()}
    metadata |= {"format": "pt", "sepme.spec": SPEC, "sepme.digest": shift.digest}
    return safetensors.torch.save(shift.payload.tensors(), metadata=metadata)


def save_shift(shift: ConceptShift, path: str | Path) -> None:
    """Write a shift to a file, in one step.

    Args:
        shift: The shift.
        path: The file; replaced if it exists. Its folder must exist.

    Raises:
        ShiftFileError: If it cannot be written; an old file is then intact.
    """
    try:
        write_atomic(Path(path), shift_bytes(shift))
    except OSError as error:
        raise ShiftFileError(f"cannot write {path}: {error.strerror}.") from error


def load_shift(path: str | Path) -> ConceptShift:
    """Read a shift from a file, which need not be trusted.

    Nothing in the file is executed, and its content must match the digest it carries.

    Args:
        path: The file.

    Returns:
        The shift.

    Raises:
        ShiftFileError: If the file is missing, damaged, foreign or hostile.
    """
    path = Path(path)
    try:
        metadata, tensors = _read(path)
        if metadata.get("sepme.spec") != SPEC:
            raise ShiftFileError(
                f"its sepme.spec is {shown(metadata.get('sepme.spec'))}, not {SPEC!r}; "
                "only shifts written by sepme can be read"
            )
        shift = ConceptShift.from_parts(_parts(metadata), tensors)
    except (OSError, SafetensorError, SepmeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ShiftFileError(f"{path} is not a usable shift: {reason}.") from error
    if shift.digest != metadata.get("sepme.digest"):
        raise ShiftFileError(
            f"{path} is damaged or was edited: its content has digest {shift.digest[:16]}, "
            f"but it claims {shown(metadata.get('sepme.digest'))}. Get a fresh copy."
        )
    return shift


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > _MAX_HEADER_BYTES:
        raise ShiftFileError(
            f"it starts with a header of {header} bytes, more than {_MAX_HEADER_BYTES}"
        )
    with safe_open(path, framework="pt") as file:
        names = file.keys()
        return file.metadata() or {}, {name: file.get_tensor(name) for name in names}


def _parts(metadata: dict[str, str]) -> dict[str, object]:
    return {
        name: parse_json(metadata[_PREFIX + name], what=_PREFIX + name, error=ShiftFileError)
        for name in _PARTS
        if _PREFIX + name in metadata
    }
