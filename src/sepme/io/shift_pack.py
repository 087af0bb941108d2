"""Many text shifts in one safetensors file, a few hundred bytes each besides their factors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from safetensors import SafetensorError, safe_open

from sepme.core.record import canonical_json, parse_json, read_fields, read_strings
from sepme.errors import SepmeError, ShiftFileError, shown

if TYPE_CHECKING:
    from torch import Tensor

    from sepme.core.shift import ConceptShift
    from sepme.core.text_shift import TextShift

SPEC = "sepme-shifts/1"
"""Format and version, written in every file."""

_GROUP = {"provenance": dict, "separable": bool, "sites": list, "fit": list}
_ROW = {
    "digest": str,
    "group": int,
    "rank": int,
    "concepts": list,
    "decoupled_from": list,
    "fit": list,
}
_MAX_HEADER_BYTES = 100 * 2**20


def pack_bytes(shifts: Sequence[ConceptShift]) -> bytes:
    """Content of a file with many text shifts.

    What many share is written once: ``sepme.groups`` holds provenance, sites and the names of the
    diagnostics, ``sepme.shifts`` a list for each shift, and the factors of all stand below each
    other in the tensors ``left`` (transposed) and ``right``.

    Args:
        shifts: Text shifts of one width, at least one.

    Returns:
        A safetensors file.
    """
    import safetensors.torch
    import torch

    groups: dict[str, int] = {}
    rows = [_row(shift, groups) for shift in shifts]
    payloads = [cast("TextShift", shift.payload) for shift in shifts]
    tensors = {
        "left": torch.cat([payload.left.T for payload in payloads]).contiguous(),
        "right": torch.cat([payload.right for payload in payloads]),
    }
    metadata = {
        "format": "pt",
        "sepme.spec": SPEC,
        "sepme.groups": f"[{','.join(groups)}]",
        "sepme.shifts": canonical_json(rows),
    }
    return safetensors.torch.save(tensors, metadata=metadata)


def pack_digests(path: Path) -> tuple[str, ...]:
    """Which shifts a file holds; needs no torch, and reads no factor.

    Args:
        path: The file.

    Returns:
        Their digests, as the file claims them.

    Raises:
        ShiftFileError: If the file is missing, damaged, foreign or hostile.
    """
    with _told(path):
        _check_size(path)
        with safe_open(path, framework="np") as file:
            return tuple(row["digest"] for row in _read(file.metadata() or {})[1])


def load_pack(path: Path, wanted: Collection[str]) -> dict[str, ConceptShift]:
    """Read some shifts of a file, which need not be trusted; of the others no factor is read.

    Args:
        path: The file.
        wanted: Digests of the shifts to read; others than the file holds are ignored.

    Returns:
        Digest to shift. The content of each matches its digest.

    Raises:
        ShiftFileError: If the file is missing, damaged, foreign or hostile.
    """
    with _told(path):
        _check_size(path)
        with safe_open(path, framework="pt") as file:
            groups, rows = _read(file.metadata() or {})
            left, right = file.get_slice("left"), file.get_slice("right")
            ends = list(accumulate((row["rank"] for row in rows), initial=0))
            _check_factors(left, right, rows=ends[-1])
            return {
                row["digest"]: _shift(row, groups, left[start:end].T, right[start:end])
                for row, (start, end) in zip(rows, pairwise(ends), strict=True)
                if row["digest"] in wanted
            }


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Give every error in reading a file its one line."""
    try:
        yield
    except (OSError, SafetensorError, SepmeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ShiftFileError(
            f"{path} is not a usable file of shifts: {reason}. "
            "Restore the file from a backup, or fit the concepts again."
        ) from error


def _row(shift: ConceptShift, groups: dict[str, int]) -> list[object]:
    """What is a shift's own, in the order of ``_ROW``; what it shares joins the groups."""
    metadata = cast("dict[str, Any]", shift.metadata())
    origin = dict(metadata["provenance"])
    fit = origin.pop("fit")
    group = canonical_json(
        {
            "provenance": origin,
            "separable": shift.separable,
            "sites": list(shift.payload.sites),
            "fit": sorted(fit),
        }
    )
    place = groups.setdefault(group, len(groups))
    rank = len(cast("TextShift", shift.payload).right)
    values = [fit[name] for name in sorted(fit)]
    own = (metadata["concepts"], metadata["decoupled_from"], values)
    return [shift.digest, place, rank, *own]


def _shift(
    row: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], left: Tensor, right: Tensor
) -> ConceptShift:
    import torch

    from sepme.core.shift import ConceptShift

    group = groups[row["group"]]
    fit = dict(zip(group["fit"], row["fit"], strict=True))
    metadata = {
        "concepts": row["concepts"],
        "decoupled_from": row["decoupled_from"],
        "separable": group["separable"],
        "payload": "text",
        "provenance": {**group["provenance"], "fit": fit},
    }
    sites = {f"sites.{site}": torch.empty(0) for site in group["sites"]}
    shift = ConceptShift.from_parts(metadata, {"left": left, "right": right, **sites})
    if shift.digest != row["digest"]:
        raise ShiftFileError(
            f"it is damaged or was edited: shift {shift.name!r} has digest {shift.digest[:16]}, "
            f"but it claims {shown(row['digest'])}"
        )
    return shift


def _read(metadata: Mapping[str, str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The groups and the rows of a file, checked as far as finding the factors needs it."""
    if metadata.get("sepme.spec") != SPEC:
        raise ShiftFileError(f"its sepme.spec is {shown(metadata.get('sepme.spec'))}, not {SPEC!r}")
    groups, rows = (
        parse_json(metadata.get(name, ""), what=name, error=ShiftFileError)
        for name in ("sepme.groups", "sepme.shifts")
    )
    if not isinstance(groups, list) or not isinstance(rows, list):
        raise ShiftFileError("its groups and shifts must be lists")
    checked = [_group(group) for group in groups]
    return checked, [_fields(row, checked) for row in rows]


def _group(data: object) -> dict[str, Any]:
    fields = read_fields(data, _GROUP, what="a group", error=ShiftFileError)
    for name in ("sites", "fit"):
        read_strings(fields[name], what=f"a group: field {name!r}", error=ShiftFileError)
    return fields


def _fields(row: object, groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not isinstance(row, list) or len(row) != len(_ROW):
        raise ShiftFileError(f"a shift must be a list of {len(_ROW)}, got {shown(row)}")
    named = dict(zip(_ROW, row, strict=True))
    fields = read_fields(named, _ROW, what="a shift", error=ShiftFileError)
    if not 0 <= fields["group"] < len(groups) or fields["rank"] < 1:
        raise ShiftFileError(f"a shift has no group or rank: {shown(row)}")
    names = groups[fields["group"]]["fit"]
    if len(fields["fit"]) != len(names):
        raise ShiftFileError(
            f"a shift has {len(fields['fit'])} diagnostics, its group names {len(names)}"
        )
    return fields


def _check_factors(*parts: Any, rows: int) -> None:  # noqa: ANN401 (safetensors has no types)
    for part in parts:
        dtype, shape = part.get_dtype(), part.get_shape()
        if dtype != "F32" or len(shape) != 2 or shape[0] != rows:
            raise ShiftFileError(
                f"its factors must be F32 matrices of {rows} rows, got {dtype} of shape "
                f"{shown(shape)}"
            )


def _check_size(path: Path) -> None:
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > _MAX_HEADER_BYTES:
        raise ShiftFileError(
            f"it starts with a header of {header} bytes, more than {_MAX_HEADER_BYTES}"
        )
