"""Settings of one method side by side, on held-out templates.

``python -m benchmarks.variants METHOD`` reads ``benchmarks/variants/METHOD.yaml``, label to
setting over the method's preset, erases three styles and three objects with each of them, alone and
jointly, and writes ``docs/experiments/variants-METHOD.json``. What was fitted and drawn before is
not made again. Nothing is chosen here: presets come from `sweep.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import sepme
from benchmarks.harness import environment
from benchmarks.method_pages import DOCS, found, rate
from sepme import bench
from sepme.methods import METHODS

SETTINGS = Path(__file__).parent / "variants"
CONCEPTS = ("van-gogh", "hokusai", "fluent", "church", "cat", "guitar")
TASKS = {
    ("styles", "each"): "styles, each alone",
    ("styles", "joint"): "styles, together",
    ("objects", "each"): "objects, each alone",
    ("objects", "joint"): "objects, together",
}
COLUMNS = (
    "", "Task", "Erased, own prompts", "Erased, templates", "Kept, same domain",
    "Kept, other domain", "Steps", "Seconds", "KB per concept",
)  # fmt: skip

Row = Mapping[str, Any]


def out(method: str) -> Path:
    """Where the rows of a method are kept."""
    return DOCS / "experiments" / f"variants-{method}.json"


def measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of every setting, each with its label."""
    model, method = sepme.load("demo"), options.method
    for label, setting in yaml.safe_load((SETTINGS / f"{method}.yaml").read_text()).items():
        report = bench.run(
            "methods", model=model, cache=options.cache, methods=(method,),
            hyperparameters=setting, concepts=CONCEPTS, tasks=tuple(options.tasks),
            least=options.least, restores=False,
        )  # fmt: skip
        yield from ({**row, "setting": label} for row in report.rows if row["method"] == method)


def table(rows: Sequence[Row]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Columns and lines, a line a setting and task."""
    labels = dict.fromkeys(row["setting"] for row in rows)
    lines = []
    for (domain, task), name in TASKS.items():
        for label in labels:
            at = {"setting": label, "domain": domain, "task": task}
            if own := [row for row in rows if at.items() <= row.items()]:
                lines.append((label, name, *cells(own)))
    return COLUMNS, lines


def cells(rows: Sequence[Row]) -> tuple[str, ...]:
    """What is shown of one setting and task."""
    rates = (
        found(rows, "erased_accuracy", split="literal"),
        found(rows, "erased_accuracy", split="heldout", role="erased"),
        found(rows, "retained_accuracy", role="same domain"),
        found(rows, "retained_accuracy", role="other domain"),
    )
    costs = {row["metric"]: row["value"] for row in rows}
    steps = f"{costs['steps']:.0f}" if "steps" in costs else ""
    return (*map(rate, rates), steps, f"{costs['seconds']:.2g}", f"{costs['bytes'] / 1000:.0f}")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("method", choices=list(METHODS))
    parser.add_argument("--tasks", nargs="*", default=["one", "joint"], help="one, joint or both")
    parser.add_argument("--least", type=int, default=32, help="images per task and figure")
    parser.add_argument("--cache", type=Path, help="images and fits; the user's own if not given")
    options = parser.parse_args()
    rows = list(measured(options))
    record = json.dumps({"rows": rows, "environment": environment()})
    out(options.method).write_text(record + "\n")


if __name__ == "__main__":
    main()
