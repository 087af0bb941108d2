"""A ledger being changed, at a cost that does not grow with what it holds; needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sepme.core.entry import Entry
from sepme.core.record import read_strings
from sepme.errors import (
    Interference,
    LedgerCorrupt,
    NotErased,
    NotSeparable,
    did_you_mean,
    shown,
)


class LedgerFold:
    """Entries by name, and which of them holds each erased concept.

    Ledgers are immutable, and each brings its entries into order; a thousand operations in a row
    are done here instead, and give one ledger at the end.

    Args:
        entries: What to start from; active ones do not overlap.

    Example:
        >>> LedgerFold(()).entries
        ()
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Start from some entries."""
        self._held = {entry.name: entry for entry in entries}
        active = (entry for entry in self._held.values() if entry.active)
        self._holder = {name: entry for entry in active for name in entry.names}

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Everything that is held, in no order."""
        return tuple(self._held.values())

    @property
    def active(self) -> tuple[Entry, ...]:
        """Entries in force, in name order."""
        return tuple(entry for _, entry in sorted(self._held.items()) if entry.active)

    def put(self, entry: Entry) -> None:
        """Put an entry in force; it replaces earlier ones of the same concepts.

        Args:
            entry: The entry.

        Raises:
            Interference: If it would split concepts that are erased jointly.
        """
        replaced = self._holders(entry.names)
        for other in replaced:
            if not other.names <= entry.names:
                raise Interference(
                    f"{sorted(other.names)} are erased jointly; a shift for {entry.name!r} alone "
                    f"would bring back the others. Restore {other.name!r} first."
                )
        self._give_back(replaced)
        self._held[entry.name] = entry
        if entry.active:
            self._holder.update(dict.fromkeys(entry.names, entry))

    def restore(self, names: Iterable[str]) -> None:
        """Give concepts back; they stay known.

        Args:
            names: As for `sepme.core.ledger.Ledger.restore`.

        Raises:
            NotErased: If one of them is not erased.
            NotSeparable: If one was erased jointly with another that is not named.
        """
        wanted = {part for name in names for part in name.split("+")}
        if missing := sorted(wanted - self._holder.keys()):
            erased = sorted(self._holder)
            raise NotErased(f"{missing[0]!r} is not erased. {did_you_mean(missing[0], erased)}")
        given = self._holders(wanted)
        for entry in given:
            if not entry.names <= wanted:
                raise NotSeparable(
                    f"{sorted(entry.names)} were erased jointly by {entry.method!r}, which cannot "
                    f"give back one of them. Restore {entry.name!r} as a whole."
                )
        self._give_back(given)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Do what an event of a history says.

        Args:
            event: As for `sepme.core.ledger.Ledger.apply`.

        Raises:
            LedgerCorrupt: If the event is malformed or cannot follow.
        """
        try:
            match event:
                case {"event": "erase", "entries": [*entries]}:
                    for entry in entries:
                        self.put(Entry.from_dict(entry))
                    return
                case {"event": "restore", "concepts": [*concepts]}:
                    names = read_strings(concepts, what="concepts", error=LedgerCorrupt)
                    self.restore(names)
                    return
        except (Interference, NotErased, NotSeparable) as error:
            raise LedgerCorrupt(f"an event does not fit what came before it: {error}") from error
        raise LedgerCorrupt(f"{shown(event)} is not an event this version knows.")

    def _holders(self, names: Iterable[str]) -> list[Entry]:
        """Active entries that hold some of the concepts, in name order."""
        found = {e.name: e for name in names if (e := self._holder.get(name)) is not None}
        return [entry for _, entry in sorted(found.items())]

    def _give_back(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._held[entry.name] = replace(entry, active=False)
            for name in entry.names:
                del self._holder[name]
