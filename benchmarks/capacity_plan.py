"""How long many fits take on many workers, from times measured on one.

Measures what a plan needs: the time of a worker from its start until it has the model (``ready``),
that of one fit (``fit``), and what the caller spends on sending one and keeping what it gives
(``task``). The plan is ``ready + ceil(N / W) * fit / (1 - lost)``, and at least ``N * task``: a
worker that is lost during a task costs that task.

    python benchmarks/capacity_plan.py [--model M] [--device D] [--method M] [--clock cpu] [--json]

``--clock cpu`` counts the processor's time instead of the wall's: on a machine that is busy, that
is what a core of its own would take, waiting for disks aside. It knows nothing of a GPU.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from harness import Row, parser, row, seconds_of, show

import sepme
from sepme.bench.store import Store
from sepme.core.shift import ConceptShift
from sepme.executors.process import Process

TASKS = 200
HOUR, GB = 3600, 10**9
Clock = Callable[[Callable[[], object]], float]


def plan_seconds(
    n: int, workers: int, *, ready: float, fit: float, task: float, lost: float = 0.0
) -> float:
    """Wall time of independent fits.

    Args:
        n: Fits.
        workers: Workers.
        ready: Seconds until a worker has the model.
        fit: Seconds of a fit.
        task: Seconds the caller spends on a task.
        lost: Share of tasks during which the worker is lost, 0 to below 1.

    Returns:
        Seconds.
    """
    return max(n * task, ready + math.ceil(n / workers) * fit / (1 - lost))


def cpu_seconds_of(call: Callable[[], object]) -> float:
    """Processor time of one call, processes that it began and ended included."""
    start = sum(os.times()[:4])
    call()
    return sum(os.times()[:4]) - start


def load(where: tuple[str, str], task: int) -> int:
    """Read the model, as a worker's first task does."""
    sepme.load(where[0], device=where[1])
    return task


def nothing(common: None, task: int) -> int:
    """A task that only comes and goes."""
    return task


def ready_seconds(clock: Clock, model: str, device: str) -> float:
    """A new worker until it has the model: Python, libraries, weights."""
    one = Process(workers=1)
    return clock(lambda: list(one.map(load, [0], common=(model, device))))


def task_seconds(clock: Clock, shifts: Sequence[ConceptShift]) -> float:
    """What the caller spends on an empty task, once a worker is there, and on keeping a fit."""
    results = Process(workers=1).map(nothing, range(1 + TASKS), common=None)
    next(results)
    send = clock(lambda: list(islice(results, TASKS)))
    results.close()
    with TemporaryDirectory() as folder:
        source, target = Store(Path(folder) / "a"), Store(Path(folder) / "b")
        source.keep_shifts({"fit": 0}, shifts)
        entries = source.entries()
        keep = clock(lambda: [target.add(entries) for _ in range(TASKS)])
    return (send + keep) / TASKS


def main() -> None:
    """Measure, plan and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--model", default="demo")
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--method", default="sepme")
    arguments.add_argument("--concept", action="append", help="default: a style of the demo")
    arguments.add_argument("--fits", type=int, default=3, help="timed fits, after one that is not")
    arguments.add_argument("--concepts", type=int, default=10_000)
    arguments.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100, 1000])
    arguments.add_argument("--lost", type=float, default=0.01)
    arguments.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    arguments.add_argument("--out", type=Path)
    chosen = arguments.parse_args()
    clock = cpu_seconds_of if chosen.clock == "cpu" else seconds_of
    torch.set_num_threads(1)
    model = sepme.load(chosen.model, device=chosen.device)
    concept = sepme.Concept.from_text((chosen.concept or ["Van Gogh"])[0], kind="style")
    method = sepme.METHODS[chosen.method]()
    shifts: list[ConceptShift] = []
    times = [
        clock(lambda seed=seed: shifts.append(method.fit(model, concept, seed=seed)))
        for seed in range(1 + chosen.fits)
    ][1:]
    costs = {
        "ready": ready_seconds(clock, chosen.model, chosen.device),
        "fit": median(times),
        "task": task_seconds(clock, shifts[:1]),
    }
    facts = {"method": chosen.method, "clock": chosen.clock}
    counts = {"ready": 1, "fit": chosen.fits, "task": TASKS}
    rows: list[Row] = [
        row(work, chosen.model, 1, took, n=counts[work], **facts) for work, took in costs.items()
    ]
    stored = chosen.concepts * shifts[0].nbytes / GB
    for workers in chosen.workers:
        took = plan_seconds(chosen.concepts, workers, **costs, lost=chosen.lost)
        more = {"workers": workers, "lost": chosen.lost, "hours": took / HOUR} | facts
        more |= {"stored_gb": stored}
        rows.append(row("plan", chosen.model, chosen.concepts, took, **more))
    show(rows, as_json=chosen.json, out=chosen.out)


if __name__ == "__main__":
    main()
