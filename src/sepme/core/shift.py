"""The product of a fit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from torch import Tensor

from sepme.core.concept import Concept, check_name
from sepme.core.payload import PAYLOADS, Payload
from sepme.core.record import Scalar, canonical_json, is_scalar, read_fields, read_strings
from sepme.errors import MethodError, shown


@dataclass(frozen=True, eq=False)
class Provenance:
    """Where a shift comes from: enough to fit it again, and nothing that depends on the clock.

    Attributes:
        base: Fingerprint of the base model.
        method: Registry name of the method.
        config: Its hyper-parameters with every default resolved.
        seed: Seed of the fit.
        versions: Distribution name to version.
        fit: Diagnostics of the fit, such as rank, leak, separability and steps.

    Raises:
        MethodError: If a field is not of that form.
    """

    base: str
    method: str
    config: Mapping[str, Scalar]
    seed: int
    versions: Mapping[str, str]
    fit: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every field and copy the mappings."""
        if not isinstance(self.base, str) or not self.base:
            raise MethodError(f"provenance needs a base fingerprint, got {shown(self.base)}.")
        check_name(self.method, what="a method's name")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise MethodError(f"seed must be an integer, got {shown(self.seed)}.")
        for name in ("config", "versions", "fit"):
            mapping = dict(getattr(self, name))
            for key, value in mapping.items():
                if not isinstance(key, str) or not is_scalar(value):
                    raise MethodError(
                        f"provenance {name} must map strings to finite JSON scalars, "
                        f"got {shown(key)}: {shown(value)}."
                    )
            object.__setattr__(self, name, MappingProxyType(mapping))

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON types."""
        return {
            "base": self.base,
            "method": self.method,
            "config": dict(self.config),
            "seed": self.seed,
            "versions": dict(self.versions),
            "fit": dict(self.fit),
        }

    @classmethod
    def from_dict(cls, data: object) -> Provenance:
        """Read what `to_dict` wrote, from a source that need not be trusted.

        Args:
            data: Parsed JSON.

        Returns:
            The provenance.

        Raises:
            MethodError: If the data is anything else.
        """
        types = {
            "base": str,
            "method": str,
            "config": dict,
            "seed": int,
            "versions": dict,
            "fit": dict,
        }
        return cls(**read_fields(data, types, what="provenance", error=MethodError))


@dataclass(frozen=True, eq=False)
class ConceptShift:
    """A small additive value that makes one base model forget a concept.

    Immutable; two shifts are equal when their digests are. Concepts and ``decoupled_from`` are
    kept in name order.

    Attributes:
        concepts: What it erases: one concept, unless fitted jointly by a method that is not
            separable.
        payload: The change of the weights.
        decoupled_from: Names of the concepts whose listed prompts it provably leaves alone.
        separable: Whether other shifts can be active beside it without disturbing it.
        provenance: Base model, method, configuration, seed and diagnostics.

    Raises:
        MethodError: If the parts contradict each other.

    Example:
        >>> import torch
        >>> from sepme.core.payload import SiteShift
        >>> payload = SiteShift(torch.eye(1, 3), {"to_k": torch.ones(2, 1)})
        >>> origin = Provenance("sha256:0", "sepme", {"lr": 0.1}, seed=0, versions={})
        >>> shift = ConceptShift((Concept("cat", ("a cat",)),), payload, ("blank",), True, origin)
        >>> shift.name, shift.nbytes, shift.digest[:8]
        ('cat', 20, '32061919')
    """

    concepts: tuple[Concept, ...]
    payload: Payload
    decoupled_from: tuple[str, ...]
    separable: bool
    provenance: Provenance

    def __post_init__(self) -> None:
        """Check the names and bring them into order."""
        names = [concept.name for concept in self.concepts]
        if not names or len(set(names)) < len(names):
            raise MethodError(f"a shift needs distinct concepts, got {shown(names)}.")
        for name in self.decoupled_from:
            check_name(name)
            if name in names:
                raise MethodError(f"a shift cannot both erase {name!r} and leave it alone.")
        ordered = tuple(sorted(self.concepts, key=lambda concept: concept.name))
        object.__setattr__(self, "concepts", ordered)
        object.__setattr__(self, "decoupled_from", tuple(sorted(set(self.decoupled_from))))

    @property
    def name(self) -> str:
        """The concept's name; names joined by "+" if there are several."""
        return "+".join(concept.name for concept in self.concepts)

    @property
    def nbytes(self) -> int:
        """Size of the stored tensors, in bytes."""
        return sum(tensor.nbytes for tensor in self.payload.tensors().values())

    def require_weights(self) -> None:
        """Refuse to be written as weights alone if it is a guard.

        Raises:
            MethodError: If it changes no weight.
        """
        if not self.payload.sites:
            raise MethodError(
                f"shift {self.name!r} ({self.provenance.method}) is a guard: it changes no weight, "
                "so no LoRA or checkpoint can hold it. Load its ledger with sepme instead, or "
                "erase the concept by a method that changes weights."
            )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the metadata and the tensors, whatever file they are kept in."""
        state = hashlib.sha256(canonical_json(self.metadata()).encode())
        for name, tensor in sorted(self.payload.tensors().items()):
            state.update(canonical_json([name, str(tensor.dtype), list(tensor.shape)]).encode())
            state.update(tensor.numpy().data)
        return state.hexdigest()

    def metadata(self) -> dict[str, object]:
        """Everything but the tensors, as JSON types."""
        return {
            "concepts": [concept.to_dict() for concept in self.concepts],
            "decoupled_from": list(self.decoupled_from),
            "separable": self.separable,
            "payload": self.payload.kind,
            "provenance": self.provenance.to_dict(),
        }

    @classmethod
    def from_parts(cls, metadata: object, tensors: Mapping[str, Tensor]) -> ConceptShift:
        """Rebuild a shift from its metadata and tensors, which need not be trusted.

        Args:
            metadata: What `metadata` returned, as parsed JSON.
            tensors: What the payload's ``tensors`` returned.

        Returns:
            The shift.

        Raises:
            ConceptError: If a concept is not well formed.
            MethodError: If anything else does not fit.
        """
        types = {
            "concepts": list,
            "decoupled_from": list,
            "separable": bool,
            "payload": str,
            "provenance": dict,
        }
        fields = read_fields(metadata, types, what="a shift", error=MethodError)
        if (kind := fields["payload"]) not in PAYLOADS:
            raise MethodError(f"payload {shown(kind)} is not one of {sorted(PAYLOADS)}.")
        return cls(
            concepts=tuple(Concept.from_dict(concept) for concept in fields["concepts"]),
            payload=PAYLOADS[kind].from_tensors(tensors),
            decoupled_from=read_strings(
                fields["decoupled_from"], what="decoupled_from", error=MethodError
            ),
            separable=fields["separable"],
            provenance=Provenance.from_dict(fields["provenance"]),
        )

    def __eq__(self, other: object) -> bool:
        """Whether both are the same shift, bit for bit."""
        return isinstance(other, ConceptShift) and self.digest == other.digest

    def __hash__(self) -> int:
        """Hash of the digest."""
        return hash(self.digest)
