"""A plain loop in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sepme.core.executor import Common, Result

if TYPE_CHECKING:
    from sepme.core.backend import Backend
    from sepme.core.concept import Concept
    from sepme.core.method import Method
    from sepme.core.shift import ConceptShift


@dataclass(frozen=True)
class Local:
    """Computes one task after another on the model that is there; nothing is sent or kept.

    Example:
        >>> list(Local().map(pow, [0, 1, 2], common=3))
        [(0, 1), (1, 3), (2, 9)]
    """

    remote: ClassVar[bool] = False
    shares_disk: ClassVar[bool] = True
    threads: ClassVar[None] = None

    def map(
        self, function: Callable[[Common, int], Result], tasks: Sequence[int], *, common: Common
    ) -> Iterator[tuple[int, Result]]:
        """Call a function for every task, in order; see `sepme.core.executor.Executor.map`."""
        for task in tasks:
            yield task, function(common, task)

    def fit_many(
        self,
        method: Method,
        model: Backend,
        concepts: Sequence[Concept],
        *,
        retain: Sequence[Concept],
        seed: int,
    ) -> tuple[ConceptShift, ...]:
        """What `Method.fit_here` gives."""
        return method.fit_here(model, concepts, retain=retain, seed=seed)
