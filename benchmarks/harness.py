"""What the benchmark scripts share: paired timing, the environment, and the one output format."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

Row = dict[str, Any]


def row(
    work: str,
    arch: str,
    concepts: int,
    seconds: float,
    baseline: float | None = None,
    ratio: float | None = None,
    **more: Any,
) -> Row:
    """One measured figure; ``ratio`` is baseline over ours, None if nothing was compared."""
    first = {"work": work, "arch": arch, "concepts": concepts, "seconds": seconds}
    if ratio is None and baseline is not None:
        ratio = baseline / seconds
    return {**first, "baseline": baseline, "ratio": ratio, **more}


def seconds_of(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def paired(
    ours: Callable[[], object], theirs: Callable[[], object], *, pairs: int, warm_up: int = 2
) -> dict[str, Any]:
    """Time two programs in turns, so that a busy machine slows both alike.

    Args:
        ours: One unit of our work.
        theirs: One unit of the baseline's.
        pairs: Timed pairs.
        warm_up: Pairs that are run first and not counted.

    Returns:
        Keyword arguments of `row`: median seconds, the median of the pairwise ratios, and its
        bootstrapped 95 % interval.
    """
    for _ in range(warm_up):
        ours(), theirs()
    times = [(seconds_of(ours), seconds_of(theirs)) for _ in range(pairs)]
    ratios = [their / our for our, their in times]
    draw = random.Random(0)
    medians = sorted(median(draw.choices(ratios, k=len(ratios))) for _ in range(2000))
    return {
        "seconds": median(our for our, _ in times),
        "baseline": median(their for _, their in times),
        "ratio": median(ratios),
        "lo": medians[50],
        "hi": medians[-51],
        "n": pairs,
    }


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Command line with ``--json``."""
    made = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def environment() -> dict[str, Any]:
    """Machine and versions, without anything that names the user or the place."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "cpu": cpu or platform.machine(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        **{package: version(package) for package in ("sepme", "torch", "diffusers")},
    }


def show(rows: Sequence[Row], *, as_json: bool, out: Path | None = None) -> None:
    """Print the rows, one JSON object or a small table, and write the object to ``out``."""
    record = json.dumps({"rows": list(rows), "environment": environment()}, indent=1)
    if out:
        out.write_text(record + "\n")
    if as_json:
        print(record)
        return
    columns = list(dict.fromkeys(key for line in rows for key in line))
    cells = [columns, *([_cell(line.get(column)) for column in columns] for line in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)
