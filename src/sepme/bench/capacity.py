"""How many concepts can be erased: accuracy and separability against their number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator

from sepme.bench.benchmark import Benchmark, Columns, Findings, built
from sepme.bench.capacity_rows import METRICS, Watch
from sepme.bench.cells import Part
from sepme.bench.crowds import Crowd, order
from sepme.bench.erasures import Eraser
from sepme.bench.gallery import Gallery, Shot, card
from sepme.bench.store import Store
from sepme.demo.templates import Split
from sepme.errors import SpecError
from sepme.pipeline import ErasedPipeline
from sepme.verify.evidence import Row


def _several(value: object) -> object:
    """Numbers as they stand in ``--set sizes=1,2,5``."""
    if isinstance(value, str):
        return value.split(",")
    return (value,) if isinstance(value, int) else value


Sizes = Annotated[tuple[int, ...], BeforeValidator(_several)]


@dataclass(frozen=True, kw_only=True)
class Capacity(Benchmark):
    """Erase more and more of the demo's styles and objects, at once and one after another.

    The first of a size are among the first of every larger one (`order`). Columns: ``size``;
    ``stage``, ``"at once"`` or ``"one after another"``, each fitted before the next is known;
    ``state``, ``"all erased"`` or ``"one restored"``; ``role``, ``domain`` and ``retained``. Rows:
    ``erased_accuracy``, ``retained_accuracy`` and ``restored_accuracy`` with the original's, and
    how much they fell (``retained_drop``, ``restored_drop``, paired); ``separability`` (the mean)
    from the other erased ones alone, ``listed`` is ``"erased"``, and from all; ``exact``, how many
    have shifts that leave listed prompts alone exactly; ``seconds`` of all fits; and ``failed``,
    how many could not be fitted, with the ``reason``. What could not be fitted counts as asked for.

    Args:
        method: Not used; name ``methods``.
        methods: Registry names.
        hyperparameters: Of the method, if there is only one.
        sizes: How many concepts to erase at once; 1,2,5 for short.
        arrive: How many to erase one after another, with separable methods.
        retained: ``"rest"`` tells fits of all concepts that stay, ``"none"`` of none of them.
        restores: Concepts to give back one at a time, at the largest size and of arrivals: spread
            over those erased at once, the last of those that arrived. 0 for none.
        images: Images of a figure on templates; on own prompts half of it.
        templates: Templates of the demo: ``"heldout"`` to report, ``"train"`` to tune on.

    Raises:
        SpecError: If a value is out of range.
    """

    name: ClassVar[str] = "capacity"
    headline: ClassVar[frozenset[str]] = frozenset(
        {"original_accuracy", *METRICS.values(), "separability", "seconds", "failed"}
    )
    method: str = ""
    methods: tuple[str, ...] = ("sepme-text",)
    sizes: Sizes = (1, 2, 5, 10, 20, 40)
    arrive: Sizes = (5, 10, 20)
    retained: Literal["rest", "none"] = "rest"
    restores: int = 5
    images: int = 96
    templates: Split = "heldout"

    def __post_init__(self) -> None:
        """Check the values."""
        self._at_least_one("steps", "images")
        if self.method:
            raise SpecError(f"this compares methods: name methods, not method {self.method!r}.")
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise SpecError(f"distinct methods are needed, got {list(self.methods)}.")
        if self.hyperparameters and len(self.methods) > 1:
            raise SpecError(
                f"hyperparameters are those of one method, got {len(self.methods)} methods."
            )
        for name in self.methods:
            built(name, self.hyperparameters)
        wanted, most = (*self.sizes, *self.arrive), len(order())
        if not wanted or not all(1 <= size <= most for size in wanted) or self.restores < 0:
            raise SpecError(
                f"sizes and arrive must be 1 to {most} and restores at least 0, got "
                f"{list(self.sizes)}, {list(self.arrive)} and {self.restores}."
            )

    def run(self, model: ErasedPipeline, store: Store, *, progress: bool = True) -> Findings:
        """Erase, look, give back.

        Args:
            model: The demo model, with nothing erased.
            store: Where images, fits and their costs are kept between runs.
            progress: Whether to show progress on stderr.

        Returns:
            The rows, and pictures beside the original's.
        """
        rows: list[Row] = []
        shots: dict[int, dict[str, Shot]] = {}
        with closing(Gallery(model, store, steps=self.steps, progress=progress)) as gallery:
            for name in self.methods:
                method = built(name, self.hyperparameters)
                eraser = Eraser(model, method, store, self.seed, self.retained == "rest")
                watch = Watch(self, eraser, gallery)
                for size in self.sizes:
                    rows += self._at_once(watch, size, shots)
                for size in self.arrive if method.separable else ():
                    rows += self._arriving(watch, size)
        return Findings(
            tuple(rows), dict(card(f"{size} erased at once", s) for size, s in shots.items())
        )

    def cells(self) -> tuple[Part, ...]:
        """One a method and size, at once and one after another."""
        narrow = [
            replace(self, sizes=(size,), arrive=(), restores=self._restores(size))
            for size in self.sizes
        ]
        narrow += [replace(self, sizes=(), arrive=(size,)) for size in self.arrive]
        return tuple(
            Part(replace(part, methods=(name,)))
            for name in self.methods
            for part in narrow
            if part.sizes or built(name, self.hyperparameters).separable
        )

    def _at_once(self, watch: Watch, size: int, shots: dict[int, dict[str, Shot]]) -> Iterator[Row]:
        crowd = Crowd.of(order()[:size])
        erasure = watch.eraser.at_once(crowd)
        columns = self._columns(watch, size, "at once")
        yield from watch.facts(crowd, erasure, columns)
        looks = watch.all_erased(crowd, erasure)
        yield from watch.rates(looks, columns)
        for look in looks[1:2]:
            shown = shots.setdefault(size, {"original": look.before[0]})
            shown[watch.eraser.method.name] = look.after[0]
        gone = [concept for concept in crowd.erased if concept.name in erasure.names]
        count = min(self._restores(size), len(gone))
        if count and len(gone) > 1:
            spread = [gone[place * len(gone) // count] for place in range(count)]
            columns = self._columns(watch, size, "at once", "one restored")
            yield from watch.one_restored(Crowd.of(gone), erasure, spread, columns)

    def _arriving(self, watch: Watch, size: int) -> Iterator[Row]:
        crowd = Crowd.of(order()[:size])
        erasure = watch.eraser.one_after_another(crowd)
        columns = self._columns(watch, size, "one after another")
        yield from watch.facts(crowd, erasure, columns)
        yield from watch.rates(watch.all_erased(crowd, erasure), columns)
        gone = [concept for concept in crowd.erased if concept.name in erasure.names]
        if self.restores and len(gone) > 1:
            late = gone[-self.restores :]
            columns = self._columns(watch, size, "one after another", "one restored")
            yield from watch.one_restored(Crowd.of(gone), erasure, late, columns)

    def _restores(self, size: int) -> int:
        return self.restores if size == max(self.sizes) else 0

    def _columns(self, watch: Watch, size: int, stage: str, state: str = "all erased") -> Columns:
        return {
            "method": watch.eraser.method.name,
            "size": size,
            "stage": stage,
            "state": state,
            "retained": self.retained,
        }
