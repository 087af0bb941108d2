"""Which concepts are erased, on which base; needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sepme.core.concept import Concept
from sepme.core.entry import Entry
from sepme.core.ledger_fold import LedgerFold
from sepme.core.record import read_fields, sha256_of
from sepme.errors import BaseMismatch, Interference, LedgerCorrupt, NotErased, did_you_mean

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
        return self.erase_all((shift,), strength, allow_interference=allow_interference)

    def erase_all(
        self,
        shifts: Iterable[ConceptShift],
        strength: float = 1.0,
        *,
        allow_interference: bool = False,
    ) -> Ledger:
        """The ledger with shifts in force, each in place of an earlier one of the same concept.

        Args:
            shifts: Shifts fitted on this ledger's base.
            strength: Above 0, at most 2; 1 is as fitted (dimensionless).
            allow_interference: Accept a second active shift that is not separable.

        Returns:
            The new ledger.

        Raises:
            BaseMismatch: If a shift was fitted on another base.
            Interference: If one would disturb, or split, a shift that is active.
            LedgerError: If the strength is out of range.
        """
        fold = LedgerFold(self.entries)
        for shift in shifts:
            if shift.provenance.base != self.base:
                raise BaseMismatch(
                    f"shift {shift.name!r} was fitted on base {shift.provenance.base}, but this "
                    f"ledger is for {self.base}. Fit it again on this base."
                )
            entry = Entry.of(shift, strength)
            fold.put(entry)
            if not entry.separable and not allow_interference:
                _check_alone(entry, fold)
        return replace(self, entries=fold.entries)

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
        fold = LedgerFold(self.entries)
        fold.restore(names)
        return replace(self, entries=fold.entries)

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
        fold = LedgerFold(self.entries)
        fold.apply(event)
        return replace(self, entries=fold.entries)

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


def _check_alone(entry: Entry, fold: LedgerFold) -> None:
    joint = [other.name for other in fold.active if not other.separable]
    if len(joint) > 1:
        raise Interference(
            f"shifts {joint} would be active together, but {entry.method!r} is not separable: "
            "each was fitted as if it were alone. Fit the concepts together, restore the "
            "other first, or allow interference."
        )
