"""How concepts are made to be forgotten."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import Field, field, fields, is_dataclass, replace
from typing import Any, ClassVar, Literal, Self, final

from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.core.executor import Executor, executor_of
from sepme.core.limits import Limits
from sepme.core.listing import apart
from sepme.core.record import Scalar, versions
from sepme.core.shift import ConceptShift, Provenance
from sepme.errors import SpecError, did_you_mean, shown


def from_paper(
    value: str | int | float,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    one_of: tuple[str, ...] = (),
) -> Any:  # noqa: ANN401 (stands for a value of the field's own type)
    """Dataclass field that is not chosen yet and is worth ``value`` in the method's paper.

    Args:
        value: The paper's value; what is chosen instead must be of its type.
        above: A number must be larger than this.
        least: A number must be at least this.
        most: A number must be at most this.
        one_of: A text must be one of these, if there are any.

    Returns:
        A field whose default is None; `Method.resolve` fills it.
    """
    limits = Limits(type(value), above, least, most, one_of)
    return field(default=None, metadata={"paper": value, "limits": limits})


class Method(ABC):
    """A frozen bag of hyper-parameters with one verb, ``fit``.

    A fit works against pristine weights, whatever is erased, and leaves the model as it found it.
    Subclasses are frozen dataclasses whose fields are declared with `from_paper`: a field left at
    None takes the base model's preset, else the paper's value.

    Attributes:
        name: Registry name.
        paper: Link to the paper it follows.
        kind: ``"trained"``, ``"closed-form"``, or ``"guard"`` for erasers that change no weight.
        separable: Whether its shifts can be active together without disturbing each other.
        together: Whether several concepts are solved for at once, not one after another.
        approximates: Whether it leaves the rest alone in the mean square where there is no room
            to do so exactly.
        restorable: What one gets back when one of several concepts is restored, in a sentence.
        cost: What a fit costs, in a sentence.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    kind: ClassVar[Literal["trained", "closed-form", "guard"]]
    separable: ClassVar[bool]
    together: ClassVar[bool] = False
    approximates: ClassVar[bool] = False
    restorable: ClassVar[str]
    cost: ClassVar[str]

    def __post_init__(self) -> None:
        """Check every hyper-parameter that is chosen."""
        for key, declared in self._fields().items():
            value, limits = getattr(self, key), declared.metadata.get("limits")
            if value is not None and limits is not None and not limits.fit(value):
                raise SpecError(f"{key} must be {limits}, got {shown(value)}.")

    def resolve(self, preset: Mapping[str, object] | None = None) -> Self:
        """The method with every hyper-parameter chosen: own values, the preset's, the paper's.

        Args:
            preset: Names to values, as in ``model.presets[name]``.

        Returns:
            A method without a None.

        Raises:
            SpecError: If the preset names a hyper-parameter the method does not have, or a value
                is out of range.
        """
        declared, preset = self._fields(), dict(preset or {})
        for key in preset.keys() - declared.keys():
            raise SpecError(
                f"{self.name} has no hyper-parameter {key!r}. {did_you_mean(key, declared)}"
            )
        own = {key: getattr(self, key) for key in declared}
        paper = {k: f.metadata["paper"] for k, f in declared.items() if "paper" in f.metadata}
        chosen = {key: value for key, value in own.items() if value is not None}
        return replace(self, **paper | preset | chosen)  # type: ignore[type-var]

    @classmethod
    def _fields(cls) -> dict[str, Field[Any]]:
        if not is_dataclass(cls):
            raise SpecError(f"{cls.__name__} must be a dataclass of its hyper-parameters.")
        return {declared.name: declared for declared in fields(cls)}

    def provenance(
        self, model: Backend, *, seed: int, fit: Mapping[str, Scalar] | None = None
    ) -> Provenance:
        """Record of a fit by this method, once it is resolved.

        Args:
            model: The model it was fitted on.
            seed: Seed of the fit.
            fit: Diagnostics of the fit.

        Returns:
            The provenance.
        """
        return Provenance(
            base=model.fingerprint,
            method=self.name,
            config={key: getattr(self, key) for key in self._fields()},
            seed=seed,
            versions=versions("sepme", "torch"),
            fit=fit or {},
        )

    @abstractmethod
    def fit(
        self, model: Backend, concept: Concept, *, retain: Sequence[Concept] = (), seed: int = 0
    ) -> ConceptShift:
        """Find the shift that makes the model forget one concept.

        Args:
            model: The model.
            concept: What to erase.
            retain: What to leave alone, besides ``model.known``.
            seed: Seed of everything random; the same seed gives the same shift.

        Returns:
            The shift.

        Raises:
            MethodError: If the concept cannot be erased this way.
        """

    @final
    def fit_many(
        self,
        model: Backend,
        concepts: Sequence[Concept],
        *,
        retain: Sequence[Concept] = (),
        seed: int = 0,
        executor: Executor | str = "local",
    ) -> tuple[ConceptShift, ...]:
        """Fit several concepts one at a time, each with the others among the retained.

        Some methods fit all concepts as one instead. The executor changes no result but through
        its number of torch threads.

        Args:
            model: The model; executors other than the local one load it from where it came from.
            concepts: What to erase.
            retain: What to leave alone, besides ``model.known``.
            seed: Seed of everything random.
            executor: Who computes it: ``"local"``, ``"process"``, ``"ray"``, or one of
                `sepme.executors.EXECUTORS` with options.

        Returns:
            One shift per concept, in the order given; or one of all, if they are fitted as one.

        Raises:
            MethodError: If a concept comes twice, or cannot be erased this way.
            BackendError: If the executor's workers cannot load the model, or are lost.
        """
        where = executor_of(executor)
        return where.fit_many(self, model, concepts, retain=retain, seed=seed)

    @classmethod
    def fits_as_one(cls) -> bool:
        """Whether several concepts are one fit, which no executor can split."""
        return cls.fit_here is not Method.fit_here

    def fit_here(
        self,
        model: Backend,
        concepts: Sequence[Concept],
        *,
        retain: Sequence[Concept] = (),
        seed: int = 0,
    ) -> tuple[ConceptShift, ...]:
        """Fit several concepts in this process, one at a time.

        Methods that fit all concepts as one override this; most return one shift that names all.

        Args:
            model: The model.
            concepts: What to erase.
            retain: What to leave alone, besides ``model.known``.
            seed: Seed of everything random.

        Returns:
            One shift per concept, in the order given; or one of all, if they are fitted as one.

        Raises:
            MethodError: If a concept comes twice, or cannot be erased this way.
        """
        retained = apart(model, concepts, retain)
        return tuple(
            self.fit(model, concept, retain=alone, seed=seed)
            for concept, alone in zip(concepts, retained, strict=True)
        )
