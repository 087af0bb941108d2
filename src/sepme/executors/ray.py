"""Workers of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sepme.core.executor import Common, Result
from sepme.errors import BackendError, SpecError
from sepme.executors._elsewhere import Elsewhere

_AHEAD = 2000
"""Tasks that Ray has at a time: enough for as many workers, and few to look through."""


@dataclass(frozen=True, kw_only=True)
class Ray(Elsewhere):
    """Sends tasks to a Ray cluster; the model is loaded once a worker, results come back by Ray.

    A program that is connected to Ray stays so; else this connects, and leaves when it is done. A
    task whose node is lost is computed again on another.

    Args:
        address: Of the cluster, such as ``"auto"``; None is RAY_ADDRESS, else one on this machine.
        num_cpus: Cores that Ray sets aside for a task.
        num_gpus: GPUs that Ray sets aside for a task; a fraction shares one.
        retries: Times that a task may lose its worker.
        shares_disk: Whether all nodes see the caller's cache under the same path; they then keep
            what they make there themselves, and find what others made.
        threads: Torch threads of a task, and of the caller's own part meanwhile.
        cache: Folder where fits of ``fit_many`` are kept; None is the user's own.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> Ray(num_gpus=1).num_gpus
        1
    """

    address: str | None = None
    num_cpus: float = 1
    num_gpus: float = 0
    retries: int = 3

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if min(self.num_cpus, self.num_gpus, self.retries) < 0:
            raise SpecError(
                "num_cpus, num_gpus and retries must be at least 0, got "
                f"{self.num_cpus}, {self.num_gpus} and {self.retries}."
            )

    def map(
        self, function: Callable[[Common, int], Result], tasks: Sequence[int], *, common: Common
    ) -> Iterator[tuple[int, Result]]:
        """Call a function for every task; see `sepme.core.executor.Executor.map`."""
        with _connected(self.address) as ray:
            remote = ray.remote(
                num_cpus=self.num_cpus,
                num_gpus=self.num_gpus,
                max_retries=self.retries,
                max_calls=0,  # with GPUs, Ray would else end the worker, and its model, each time
                scheduling_strategy="SPREAD",
            )(function)
            sent = ray.put(common)
            coming = iter(tasks)
            waiting = {remote.remote(sent, task): task for task in islice(coming, _AHEAD)}
            try:
                while waiting:
                    (done,), _ = ray.wait(list(waiting), num_returns=1)
                    task = waiting.pop(done)
                    waiting |= {remote.remote(sent, more): more for more in islice(coming, 1)}
                    yield task, _result(ray, done)
            finally:
                for left in waiting:
                    ray.cancel(left)


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    try:
        import ray
    except ImportError as error:
        raise SpecError(
            "executor 'ray' needs Ray, which is not installed. Install it: "
            "pip install 'sepme[ray]'."
        ) from error
    ours = not ray.is_initialized()
    if ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(address=address, include_dashboard=False, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise BackendError(
                f"cannot connect to Ray at {address!r}: {reason}. Start it: ray start --head."
            ) from error
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _result(ray: Any, done: Any) -> Any:  # noqa: ANN401 (Ray's own)
    """What a task gave; an error it raised is raised as it was."""
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise BackendError(
            f"a task lost its worker too often: {reason}. Add nodes or retries and run again; what "
            "is finished is kept."
        ) from error
