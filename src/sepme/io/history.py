"""Append-only, hash-chained record of what was done; needs no torch."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sepme.core.record import canonical_json, parse_json, read_fields, sha256_of
from sepme.errors import LedgerCorrupt, shown

_ORIGIN = "0" * 64
_CHAIN_TYPES = {"seq": int, "time": str, "previous": str, "hash": str}


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a history.

    Attributes:
        seq: Position, from 0.
        time: UTC, ISO 8601, whole seconds.
        event: What was done, as JSON types: its key ``event`` says what sort, and no key is the
            name of another attribute.
        previous: Hash of the record before it, or 64 zeros.
        hash: SHA-256 of everything above.
    """

    seq: int
    time: str
    event: Mapping[str, Any]
    previous: str
    hash: str

    @classmethod
    def following(cls, head: str, seq: int, event: Mapping[str, Any]) -> Record:
        """The record that would come next, dated now.

        Args:
            head: Hash of the record before it.
            seq: Its position.
            event: What was done.

        Returns:
            The record, not yet written anywhere.
        """
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return cls(seq, now, event, head, _hash(seq, now, event, head))

    def line(self) -> bytes:
        """The record as one line of JSON."""
        body = _body(self.seq, self.time, self.event, self.previous)
        return canonical_json({**body, "hash": self.hash}).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class History:
    """A verified history.

    Attributes:
        path: Its file.
        records: All records, oldest first.
        size: Length of the intact part of the file, in bytes. What follows is a line that a
            killed writer did not finish, so nobody was told it had been done.
    """

    path: Path
    records: tuple[Record, ...]
    size: int

    @classmethod
    def read(cls, path: Path) -> History:
        """Read and verify a history; a missing file is an empty one.

        Args:
            path: The file.

        Returns:
            The history.

        Raises:
            LedgerCorrupt: If a finished line is malformed or does not continue the chain.
            OSError: If the file cannot be read.
        """
        data = path.read_bytes() if path.exists() else b""
        *lines, torn = data.split(b"\n")
        records: list[Record] = []
        for line in lines:
            record = _parse(line, number=len(records) + 1)
            head = records[-1].hash if records else _ORIGIN
            expected = _hash(len(records), record.time, record.event, head)
            if (record.seq, record.previous, record.hash) != (len(records), head, expected):
                raise LedgerCorrupt(
                    f"line {len(records) + 1} of {path} does not continue the chain of hashes: "
                    "the history was edited. Restore it from a backup."
                )
            records.append(record)
        return cls(path, tuple(records), len(data) - len(torn))

    @property
    def head(self) -> str:
        """Hash of the last record, or 64 zeros."""
        return self.records[-1].hash if self.records else _ORIGIN

    def following(self, event: Mapping[str, Any]) -> Record:
        """The record that would come next, dated now.

        Args:
            event: What was done, as JSON types.

        Returns:
            The record, not yet written.
        """
        return Record.following(self.head, len(self.records), event)

    def append(self, record: Record) -> History:
        """Write a record; once this returns, it is on the disk.

        An unfinished line at the end is cut off first. If writing fails, so is the new one.

        Args:
            record: What `following` gave.

        Returns:
            The longer history.

        Raises:
            OSError: If the disk is full or the file is not writable.
        """
        line = record.line()
        with self.path.open("ab", buffering=0) as file:
            file.truncate(self.size)
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(self.size)
                raise
        return History(self.path, (*self.records, record), self.size + len(line))


def _body(seq: int, when: str, event: Mapping[str, Any], previous: str) -> dict[str, object]:
    return {**event, "seq": seq, "time": when, "previous": previous}


def _hash(seq: int, when: str, event: Mapping[str, Any], previous: str) -> str:
    return sha256_of(_body(seq, when, event, previous))


def _parse(line: bytes, *, number: int) -> Record:
    what = f"line {number} of the history"
    data = parse_json(line, what=what, error=LedgerCorrupt)
    if not isinstance(data, dict):
        raise LedgerCorrupt(f"{what} must be an object, got {shown(data)}.")
    chain = {name: data.pop(name) for name in _CHAIN_TYPES if name in data}
    return Record(**read_fields(chain, _CHAIN_TYPES, what=what, error=LedgerCorrupt), event=data)
