"""Base of the executors whose workers are other processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sepme.bench.cells import fits_of
from sepme.bench.elsewhere import prepare, sendable, torch_threads
from sepme.bench.store import Store, default_folder
from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.core.executor import Common, Result
from sepme.core.method import Method
from sepme.core.shift import ConceptShift
from sepme.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Elsewhere(ABC):
    """Sends tasks away and keeps what they give under all that it depends on.

    Args:
        shares_disk: Whether the workers see the caller's cache under the same path.
        threads: Torch threads of a task, and of the caller's own part meanwhile.
        cache: Folder where fits of ``fit_many`` are kept; None is the user's own.
    """

    remote: ClassVar[bool] = True
    shares_disk: bool = False
    threads: int = 1
    cache: str | Path | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.threads < 1:
            raise SpecError(f"threads must be at least 1, got {self.threads}.")

    @abstractmethod
    def map(
        self, function: Callable[[Common, int], Result], tasks: Sequence[int], *, common: Common
    ) -> Iterator[tuple[int, Result]]:
        """Call a function for every task; see `sepme.core.executor.Executor.map`."""

    def fit_many(
        self,
        method: Method,
        model: Backend,
        concepts: Sequence[Concept],
        *,
        retain: Sequence[Concept],
        seed: int,
    ) -> tuple[ConceptShift, ...]:
        """One task a concept; one for all if the method fits them as one."""
        pipeline = sendable(model)
        fits = fits_of(method, pipeline, concepts, retain=retain, seed=seed)
        store = Store(Path(self.cache or default_folder()))
        with torch_threads(self.threads):
            prepare(fits, pipeline, store, self)
            return tuple(shift for fit in fits for shift in fit.shifts(pipeline, store))
