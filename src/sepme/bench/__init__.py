"""Benchmarks: one call, resumable after a kill, every figure with n, interval and seeds."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter, ValidationError

from sepme.bench.elsewhere import prepare, torch_threads
from sepme.bench.report import Report
from sepme.bench.store import Store, default_folder
from sepme.core.executor import Executor, executor_of
from sepme.core.record import versions
from sepme.errors import SpecError, did_you_mean
from sepme.pipeline import ErasedPipeline, load
from sepme.registry import Registry
from sepme.verify.run import detector_name

if TYPE_CHECKING:
    from sepme.bench.benchmark import Benchmark

BENCHMARKS: Registry[type[Benchmark]] = Registry(
    "benchmark",
    {
        "algebra": "sepme.bench.algebra:Algebra",
        "attacks": "sepme.bench.attacks:Attacks",
        "capacity": "sepme.bench.capacity:Capacity",
        "efficiency": "sepme.bench.efficiency:Efficiency",
        "ladder": "sepme.bench.ladder:Ladder",
        "methods": "sepme.bench.methods_bench:Methods",
        "scenes": "sepme.bench.scenes:Scenes",
    },
)
"""Every benchmark by its registry name."""

__all__ = ["BENCHMARKS", "Report", "run", "specify"]


def specify(benchmark: str, **options: Any) -> Benchmark:  # noqa: ANN401 (the benchmark's own)
    """A benchmark with its options, checked.

    Args:
        benchmark: Its name in `BENCHMARKS`.
        options: Options of the benchmark, such as ``method``.

    Returns:
        The benchmark, ready to run.

    Raises:
        SpecError: If there is no such benchmark or option, or a value is out of range.

    Example:
        >>> specify("ladder", fits=2).fits
        2
    """
    kind = BENCHMARKS[benchmark]
    declared = [option.name for option in fields(kind)]
    for name in options.keys() - set(declared):
        raise SpecError(f"{benchmark} has no option {name!r}. {did_you_mean(name, declared)}")
    try:
        return TypeAdapter(kind).validate_python(options)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "options"
        raise SpecError(
            f"{benchmark}: {name}: {first['msg'].lower()}, got {first['input']!r}."
        ) from error


def run(
    benchmark: str,
    *,
    model: Any = "demo",  # noqa: ANN401 (a name, a path or a live diffusers pipeline)
    cache: str | Path | None = None,
    progress: bool = True,
    executor: Executor | str = "local",
    **options: Any,  # noqa: ANN401 (the benchmark's own, checked by it)
) -> Report:
    """Run a benchmark.

    Images and fits are kept in ``cache`` under everything they depend on: what was drawn or fitted
    once is never made again, and a run that was killed goes on where it was, to the same figures.

    Args:
        benchmark: Its name in `BENCHMARKS`.
        model: A loaded model with nothing erased, or what :func:`sepme.load` takes.
        cache: Folder of the cache; None is the user's own.
        progress: Whether to show progress on stderr.
        executor: Who fits and draws: ``"local"``, ``"process"``, ``"ray"``, or one of
            `sepme.executors.EXECUTORS` with options. All give the same figures, times excepted,
            with the same number of torch threads; ``efficiency`` times this process whoever it is.
        options: Options of the benchmark, such as ``method``.

    Returns:
        The report.

    Raises:
        SpecError: If there is no such benchmark, option or executor, or a value is out of range.
        BackendError: If the executor's workers cannot load the model, or are lost.
    """
    started = time.monotonic()
    spec, where = specify(benchmark, **options), executor_of(executor)
    pipeline = model if isinstance(model, ErasedPipeline) else load(model)
    store = Store(Path(cache or default_folder()))
    with torch_threads(where.threads):
        if where.remote:
            prepare(spec.cells(), pipeline, store, where, progress=progress)
        found = spec.run(pipeline, store, progress=progress)
        chosen = {option.name: getattr(spec, option.name) for option in fields(spec)}
        took = round(time.monotonic() - started, 1)
        about = _environment(pipeline, benchmark, chosen, took)
    return Report(found.rows, about, found.pictures)


def _environment(
    model: ErasedPipeline, benchmark: str, options: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    packages = ("sepme", "torch", "diffusers", "transformers")
    return {
        "benchmark": benchmark,
        "options": dict(options),
        "base": model.fingerprint,
        "detector": detector_name(model.detector),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": dict(versions(*packages)),
    }
