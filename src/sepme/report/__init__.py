"""Evidence and benchmark figures as one HTML file that anybody can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sepme.report.bench_view import Pictures, bench_view
from sepme.report.page import render, write_html, write_pdf
from sepme.report.sentences import headline, sentences
from sepme.report.view import view
from sepme.verify.evidence import Evidence, Row

__all__ = [
    "Pictures",
    "benchmark_page",
    "headline",
    "sentences",
    "write_html",
    "write_pdf",
    "write_report",
]


def write_report(evidence: Evidence, path: str | Path) -> Path:
    """Write a self-contained report: pictures and styles inside, no script, no network.

    Args:
        evidence: What to report.
        path: The HTML file; its folder is made if it does not exist. Replaced in one step.

    Returns:
        The file.

    Raises:
        OSError: If it cannot be written; an old report is then intact.
    """
    return write_html(render("report.html.j2", view(evidence)), path)


def benchmark_page(
    rows: Sequence[Row],
    environment: Mapping[str, Any],
    *,
    pictures: Pictures | None = None,
    steps: Mapping[int, Sequence[str]] | None = None,
) -> str:
    """Benchmark figures as a self-contained page; sections nothing was measured for are absent.

    Args:
        rows: The figures.
        environment: Machine, versions, options and date.
        pictures: Caption to images of one prompt and seed, named or not.
        steps: Scene to what happens at each time.

    Returns:
        The page, for `write_html` or `write_pdf`.

    Example:
        >>> row = dict.fromkeys(("value", "lo", "hi"), 0.5) | {"n": 8, "seeds": [0]}
        >>> row |= {"benchmark": "ladder", "method": "sepme", "concepts": "cat", "split": "literal"}
        >>> row |= {"metric": "erased_accuracy", "rung": "name"}
        >>> found = {"date": "2030-01-01", "versions": {"sepme": "0.1.0"}}
        >>> "From the bare name to a paraphrase" in benchmark_page([row], found)
        True
    """
    shown = bench_view(rows, environment, pictures or {}, steps or {})
    return render("bench.html.j2", shown)
