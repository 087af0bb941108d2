"""Where fits and benchmarks are computed: here, in other processes, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from sepme.registry import Registry

if TYPE_CHECKING:
    from sepme.core.backend import Backend
    from sepme.core.concept import Concept
    from sepme.core.method import Method
    from sepme.core.shift import ConceptShift

Common = TypeVar("Common")
Result = TypeVar("Result")


class Executor(Protocol):
    """Computes tasks somewhere; where that is changes no result."""

    @property
    def remote(self) -> bool:
        """Whether tasks run in other processes, each of which loads the model for itself."""

    @property
    def shares_disk(self) -> bool:
        """Whether those processes see the caller's files under the same paths."""

    @property
    def threads(self) -> int | None:
        """Torch threads of a task, which its results depend on; None for the caller's own."""

    def map(
        self, function: Callable[[Common, int], Result], tasks: Sequence[int], *, common: Common
    ) -> Iterator[tuple[int, Result]]:
        """Call a function for every task.

        Args:
            function: ``function(common, task)``; it and what it takes and gives can be sent.
            tasks: Numbers, each once.
            common: What all tasks need, sent to a worker once.

        Yields:
            Tasks with their results, as they come.

        Raises:
            BackendError: If workers are lost again and again, or there are none.
        """

    def fit_many(
        self,
        method: Method,
        model: Backend,
        concepts: Sequence[Concept],
        *,
        retain: Sequence[Concept],
        seed: int,
    ) -> tuple[ConceptShift, ...]:
        """What `Method.fit_many` gives.

        Args:
            method: The method.
            model: The model.
            concepts: What to erase.
            retain: What to leave alone, besides ``model.known``.
            seed: Seed of everything random.

        Returns:
            The shifts.

        Raises:
            MethodError: If a concept cannot be erased this way.
            BackendError: If the model cannot be loaded elsewhere, or workers are lost.
        """


EXECUTORS: Registry[Callable[..., Executor]] = Registry(
    "executor",
    {
        "local": "sepme.executors.local:Local",
        "process": "sepme.executors.process:Process",
        "ray": "sepme.executors.ray:Ray",
    },
)
"""Every executor by its registry name."""


def executor_of(executor: Executor | str) -> Executor:
    """An executor from its name, with its defaults; one that is made already is left as it is.

    Args:
        executor: Registry name, or an executor.

    Returns:
        The executor.

    Raises:
        SpecError: If there is none of that name.

    Example:
        >>> executor_of("local").remote
        False
    """
    return EXECUTORS[executor]() if isinstance(executor, str) else executor
