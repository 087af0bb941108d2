"""Executors and tasks for tests: an in-process stand-in for workers, and a worker that dies."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sepme.errors import NotSeparable
from sepme.executors._elsewhere import Elsewhere


@dataclass(frozen=True, kw_only=True)
class Here(Elsewhere):
    """Does what remote executors do, in this process, and can be interrupted after some tasks."""

    stop_after: int | None = None
    done: list[int] = field(default_factory=list)

    def map(self, function, tasks, *, common) -> Iterator:
        for task in tasks:
            if len(self.done) == self.stop_after:
                raise KeyboardInterrupt
            self.done.append(task)
            yield task, function(common, task)


def dies_once(folder: Path, task: int) -> int:
    """Tell of every attempt; task 1 ends its process at the first."""
    attempts = folder / f"task-{task}"
    first = not attempts.exists()
    with attempts.open("a") as file:
        file.write("x")
    if task == 1 and first:
        os._exit(1)
    return task * 10


def dies(folder: Path, task: int) -> int:
    """End the process, whatever the task."""
    os._exit(1)


def stumbles(folder: Path, task: int) -> int:
    """Tell of every attempt, once the caller has what is before; 1 and 2 end their process once.

    They do so when the next task is under way in another process.
    """
    with (folder / f"task-{task}").open("a") as file:
        file.write("x")
    _wait_for(folder / f"told-{task - 1}" if task else folder)
    fallen = folder / f"fallen-{task}"
    if task in {1, 2} and not fallen.exists():
        _wait_for(folder / f"task-{task + 1}")
        fallen.touch()
        os._exit(1)
    return task * 10


def _wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.02)


def sees(common: None, task: int) -> tuple[int, str]:
    """The process, and which GPUs it would see."""
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", "all")


def refuses(common: str, task: int) -> int:
    """Fail as methods do; every task but the first takes far longer than any test."""
    if task:
        time.sleep(600)
    raise NotSeparable(common)


def naps(folder: Path, task: int) -> int:
    """Tell the process's number, then stay busy for far longer than any test."""
    (folder / f"pid-{os.getpid()}").touch()
    time.sleep(600)
    return task
