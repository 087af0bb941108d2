"""One line of a ledger; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sepme.core.concept import Concept, check_name
from sepme.core.record import read_fields, read_strings
from sepme.errors import ConceptError, LedgerCorrupt, LedgerError, shown

if TYPE_CHECKING:
    from sepme.core.shift import ConceptShift

_MAX_STRENGTH = 2.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One shift a ledger holds.

    Attributes:
        concepts: What it erases, in name order.
        shift: Digest of the shift.
        method: Registry name of the method that made it.
        separable: As in `ConceptShift`.
        decoupled_from: As in `ConceptShift`.
        strength: Factor it is applied with: above 0, at most 2, 1 as fitted (dimensionless).
        active: False once the concepts are restored; they stay known.

    Raises:
        LedgerError: If the strength is out of range.
    """

    concepts: tuple[Concept, ...]
    shift: str
    method: str
    separable: bool
    decoupled_from: tuple[str, ...]
    strength: float = 1.0
    active: bool = True

    def __post_init__(self) -> None:
        """Check the strength; the rest comes from a checked shift."""
        if not 0 < self.strength <= _MAX_STRENGTH:
            raise LedgerError(
                f"strength must be above 0 and at most {_MAX_STRENGTH:g} (1 = as fitted), "
                f"got {self.strength}. To switch a concept off, restore it."
            )

    @property
    def name(self) -> str:
        """The concept's name; names joined by "+" if there are several."""
        return "+".join(concept.name for concept in self.concepts)

    @property
    def names(self) -> frozenset[str]:
        """Names of the concepts."""
        return frozenset(concept.name for concept in self.concepts)

    @classmethod
    def of(cls, shift: ConceptShift, strength: float = 1.0) -> Entry:
        """The active entry of a shift.

        Args:
            shift: The shift.
            strength: As the attribute.

        Returns:
            The entry.

        Raises:
            LedgerError: If the strength is out of range.
        """
        return cls(
            shift.concepts,
            shift.digest,
            shift.provenance.method,
            shift.separable,
            shift.decoupled_from,
            float(strength),
        )

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON types."""
        return {
            "concepts": [concept.to_dict() for concept in self.concepts],
            "shift": self.shift,
            "method": self.method,
            "separable": self.separable,
            "decoupled_from": list(self.decoupled_from),
            "strength": self.strength,
            "active": self.active,
        }

    @classmethod
    def from_dict(cls, data: object) -> Entry:
        """Read what `to_dict` wrote, from a source that need not be trusted.

        Args:
            data: Parsed JSON.

        Returns:
            The entry.

        Raises:
            LedgerCorrupt: If the data is anything else.
        """
        fields = read_fields(data, _ENTRY_TYPES, what="a ledger entry", error=LedgerCorrupt)
        names = read_strings(
            fields.pop("decoupled_from"), what="decoupled_from", error=LedgerCorrupt
        )
        try:
            concepts = tuple(Concept.from_dict(concept) for concept in fields.pop("concepts"))
            for name in (fields["method"], *names):
                check_name(name, what="a name in a ledger entry")
            entry = cls(concepts=concepts, decoupled_from=names, **fields)
        except (ConceptError, LedgerError) as error:
            raise LedgerCorrupt(f"a ledger entry is not well formed: {error}") from error
        ordered = sorted(entry.names)
        if not ordered or [concept.name for concept in concepts] != ordered:
            raise LedgerCorrupt(f"a ledger entry's concepts are not in order: {shown(entry.name)}.")
        return entry


_ENTRY_TYPES: dict[str, type] = {
    "concepts": list,
    "shift": str,
    "method": str,
    "separable": bool,
    "decoupled_from": list,
    "strength": float,
    "active": bool,
}
