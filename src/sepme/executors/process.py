"""Processes of one machine."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from sepme.core.executor import Common, Result
from sepme.errors import BackendError, SpecError
from sepme.executors._elsewhere import Elsewhere

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.queues import SimpleQueue

_STEP: ContextVar[Callable[[int], Any]] = ContextVar("step")
"""What a worker does with a task."""


@dataclass(frozen=True, kw_only=True)
class Process(Elsewhere):
    """Sends tasks to processes of this machine, which see its files and load the model once each.

    They end with the caller, and when a task fails or at Ctrl-C, in the midst of a task too. When
    one is lost, the others end as well: new ones take up the tasks that all of them had.
    A program that uses it must be importable: what it does stands under
    ``if __name__ == "__main__":``.

    Args:
        workers: Processes; None is one for each core this process may use.
        gpus: GPUs as CUDA_VISIBLE_DEVICES numbers them, dealt out to the workers in turns; none
            leaves every worker what the caller sees.
        retries: Times in a row that new workers take up what lost ones left, without a task
            finished in between.
        threads: Torch threads of a task, and of the caller's own part meanwhile.
        cache: Folder where fits of ``fit_many`` are kept; None is the user's own.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> Process(workers=4).threads
        1
    """

    shares_disk: bool = field(default=True, init=False)
    workers: int | None = None
    gpus: tuple[int, ...] = ()
    retries: int = 2

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if (self.workers is not None and self.workers < 1) or self.retries < 0:
            raise SpecError(
                "workers must be at least 1 and retries at least 0, got "
                f"{self.workers} and {self.retries}."
            )

    def map(
        self, function: Callable[[Common, int], Result], tasks: Sequence[int], *, common: Common
    ) -> Iterator[tuple[int, Result]]:
        """Call a function for every task; see `sepme.core.executor.Executor.map`."""
        left, died = dict.fromkeys(tasks), 0
        while left:
            before = len(left)
            for task, result in self._round(partial(function, common), tuple(left)):
                del left[task]
                yield task, result
            died = 1 if len(left) < before else died + 1
            if left and died > self.retries:
                raise BackendError(
                    f"workers died {died} times without a task finished in between, {len(left)} of "
                    f"{len(tasks)} tasks are left. Take fewer workers if memory ran out, and put "
                    "what the program does under if __name__ == '__main__'; what is finished is "
                    "kept."
                )

    def _round(
        self, step: Callable[[int], Result], tasks: Sequence[int]
    ) -> Iterator[tuple[int, Result]]:
        """Tasks with their results; those that lost their worker are left out."""
        context = get_context("spawn")
        workers = min(self.workers or _cores(), len(tasks))
        places: SimpleQueue[str | None] = context.SimpleQueue()
        for worker in range(workers):
            places.put(str(self.gpus[worker % len(self.gpus)]) if self.gpus else None)
        ours, theirs = context.Pipe()
        pool = ProcessPoolExecutor(workers, context, _begin, (step, places, theirs))
        try:
            with _aside():
                futures = {pool.submit(_take, task): task for task in tasks}
            for future in as_completed(futures):
                if not isinstance(future.exception(), BrokenProcessPool):
                    yield futures[future], future.result()
        except BrokenProcessPool:
            return
        finally:
            ours.close()
            theirs.close()
            pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """Cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _begin(step: Callable[[int], Any], places: SimpleQueue[str | None], caller: Connection) -> None:
    """Make a worker ready; no GPU has been touched by then."""
    gpu = places.get()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    _STEP.set(step)
    threading.Thread(target=_end_with, args=(caller,), daemon=True).start()


def _end_with(caller: Connection) -> None:
    """Its other end is closed by a caller that is done or gives up, or by the system if it dies."""
    wait([caller])
    os._exit(1)


def _take(task: int) -> Any:  # noqa: ANN401 (whatever the step gives)
    return _STEP.get()(task)


@contextmanager
def _aside() -> Iterator[None]:
    """Let processes begun inside show no progress and hear no Ctrl-C: both are the caller's."""
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        with _deaf():
            yield
    finally:
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before


@contextmanager
def _deaf() -> Iterator[None]:
    """Hear no Ctrl-C inside, where the system can leave it unheard; Windows cannot."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)
