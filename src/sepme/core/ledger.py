"""Which concepts are erased, on which base; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sepme.core.concept import Concept
from sepme.core.entry import Entry
from sepme.core.record import read_fields, read_strings, sha256_of
from sepme.errors import (
    BaseMismatch,
    Interference,
    LedgerCorrupt,
    NotErased,
    NotSeparable,
    did_you_mean,
    shown,
)

if TYPE_CHECKING:
    from sepme.core.shift import ConceptShift


@dataclass(frozen=True, slots=True)
class Ledger:
    """Immutable record of what is erased; erasing and restoring give a new one.

    A ledger is a fold of its events, and the order of erasing leaves no trace in it: entries are
    kept in name order.

    Attributes:
        base: Fingerprint of the base model.
        entries: What is, or was, erased.

    Raises:
        LedgerCorrupt: If two entries have the same name, or two active ones share a concept.

    Example:
        >>> cat = Concept("cat", ("a cat",))
        >>> ledger = Ledger("sha256:0", (Entry((cat,), "0" * 64, "sepme", True, ("blank",)),))
        >>> ledger.erased, ledger.restore("cat").erased
        (('cat',), ())
        >>> [concept.name for concept in ledger.restore("cat").known]
        ['cat']
    """

    base: str
    entries: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        """Bring the entries into order and check that they do not overlap."""
        ordered = tuple(sorted(self.entries, key=lambda entry: entry.name))
        active = [name for entry in ordered if entry.active for name in entry.names]
        if len({entry.name for entry in ordered}) < len(ordered) or len(set(active)) < len(active):
            raise LedgerCorrupt("a ledger cannot hold the same concepts twice.")
        object.__setattr__(self, "entries", ordered)

    @property
    def active(self) -> tuple[Entry, ...]:
        """Entries in force, in name order."""
        return tuple(entry for entry in self.entries if entry.active)

    @property
    def erased(self) -> tuple[str, ...]:
        """Names of the concepts that are erased, sorted."""
        return tuple(sorted(name for entry in self.active for name in entry.names))

    @property
    def known(self) -> tuple[Concept, ...]:
        """Every concept ever held, restored or not, in name order; active definitions win."""
        latest = sorted(self.entries, key=lambda entry: entry.active)
        known = {concept.name: concept for entry in latest for concept in entry.concepts}
        return tuple(known[name] for name in sorted(known))

    @property
    def digest(self) -> str:
        """SHA-256 of the ledger: 64 lower-case hexadecimal digits."""
        return sha256_of(self.to_dict())

    def entry(self, name: str) -> Entry:
        """The entry of a concept, or of several joined by "+"; an active one if there is a choice.

        Args:
            name: The concept's name.

        Returns:
            The entry.

        Raises:
            NotErased: If the ledger never held it.
        """
        for entry in (*self.active, *self.entries):
            if name == entry.name or name in entry.names:
                return entry
        names = [concept.name for concept in self.known]
        raise NotErased(f"{name!r} was never erased here. {did_you_mean(name, names)}")

    def erase(
        self, shift: ConceptShift, strength: float = 1.0, *, allow_interference: bool = False
    ) -> Ledger:
        """The ledger with a shift in force; it replaces an earlier shift of the same concept.

        Args:
            shift: A shift fitted on this ledger's base.
            strength: Above 0, at most 2; 1 is as fitted (dimensionless).
            allow_interference: Accept a second active shift that is not separable.

        Returns:
            The new ledger.

        Raises:
            BaseMismatch: If the shift was fitted on another base.
            Interference: If it would disturb, or split, a shift that is active.
            LedgerError: If the strength is out of range.
        """
        if shift.provenance.base != self.base:
            raise BaseMismatch(
                f"shift {shift.name!r} was fitted on base {shift.provenance.base}, but this ledger "
                f"is for {self.base}. Fit it again on this base."
            )
        entry = Entry.of(shift, strength)
        ledger = self._put(entry)
        joint = [other.name for other in ledger.active if not other.separable]
        if not entry.separable and len(joint) > 1 and not allow_interference:
            raise Interference(
                f"shifts {joint} would be active together, but {entry.method!r} is not separable: "
                "each was fitted as if it were alone. Fit the concepts together, restore the "
                "other first, or allow interference."
            )
        return ledger

    def restore(self, *names: str) -> Ledger:
        """The ledger with concepts given back; they stay known.

        Args:
            names: Names of erased concepts, or names joined by "+" for concepts erased jointly.

        Returns:
            The new ledger.

        Raises:
            NotErased: If one of them is not erased.
            NotSeparable: If one was erased jointly with another that is not named.
        """
        wanted = {part for name in names for part in name.split("+")}
        if missing := sorted(wanted - set(self.erased)):
            raise NotErased(
                f"{missing[0]!r} is not erased. {did_you_mean(missing[0], self.erased)}"
            )
        for entry in self.active:
            if entry.names & wanted and not entry.names <= wanted:
                raise NotSeparable(
                    f"{sorted(entry.names)} were erased jointly by {entry.method!r}, which cannot "
                    f"give back one of them. Restore {entry.name!r} as a whole."
                )
        return self._deactivated(wanted)

    def apply(self, event: Mapping[str, Any]) -> Ledger:
        """The ledger after an event of its history.

        Args:
            event: ``{"event": "erase", "entries": [...]}`` or
                ``{"event": "restore", "concepts": [...]}``; other keys are ignored.

        Returns:
            The new ledger.

        Raises:
            LedgerCorrupt: If the event is malformed or cannot follow this ledger.
        """
        try:
            match event:
                case {"event": "erase", "entries": [*entries]}:
                    ledger = self
                    for entry in entries:
                        ledger = ledger._put(Entry.from_dict(entry))
                    return ledger
                case {"event": "restore", "concepts": [*concepts]}:
                    names = read_strings(concepts, what="concepts", error=LedgerCorrupt)
                    return self.restore(*names)
        except (Interference, NotErased, NotSeparable) as error:
            raise LedgerCorrupt(f"an event does not fit what came before it: {error}") from error
        raise LedgerCorrupt(f"{shown(event)} is not an event this version knows.")

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON types."""
        return {"base": self.base, "entries": [entry.to_dict() for entry in self.entries]}

    @classmethod
    def from_dict(cls, data: object) -> Ledger:
        """Read what `to_dict` wrote, from a source that need not be trusted.

        Args:
            data: Parsed JSON.

        Returns:
            The ledger.

        Raises:
            LedgerCorrupt: If the data is anything else.
        """
        types = {"base": str, "entries": list}
        fields = read_fields(data, types, what="a ledger", error=LedgerCorrupt)
        return cls(fields["base"], tuple(Entry.from_dict(entry) for entry in fields["entries"]))

    def _put(self, entry: Entry) -> Ledger:
        for other in self.active:
            if other.names & entry.names and not other.names <= entry.names:
                raise Interference(
                    f"{sorted(other.names)} are erased jointly; a shift for {entry.name!r} alone "
                    f"would bring back the others. Restore {other.name!r} first."
                )
        rest = self._deactivated(entry.names)
        kept = tuple(other for other in rest.entries if other.name != entry.name)
        return replace(rest, entries=(*kept, entry))

    def _deactivated(self, names: frozenset[str] | set[str]) -> Ledger:
        entries = tuple(
            replace(entry, active=False) if entry.active and entry.names <= names else entry
            for entry in self.entries
        )
        return replace(self, entries=entries)
