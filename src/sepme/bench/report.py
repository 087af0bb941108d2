"""What a benchmark found, as tidy rows."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sepme.bench.timeline import captions
from sepme.io.atomic import write_atomic
from sepme.report import Pictures, benchmark_page, write_html, write_pdf
from sepme.verify.evidence import Row

COLUMNS = (
    "benchmark", "method", "concepts", "split", "metric", "value", "n", "lo", "hi", "seeds",
)  # fmt: skip
"""What every row has, in this order; a benchmark may add more."""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Figures of one benchmark run.

    Attributes:
        rows: One figure each.
        environment: Machine, versions, options, detector, base fingerprint, date and seconds.
        pictures: Caption to images of one prompt and seed, for the HTML and PDF reports only; a
            mapping names each image, such as ``{"original": ..., "erased": ..., "restored": ...}``.
    """

    rows: tuple[Row, ...]
    environment: Mapping[str, Any]
    pictures: Pictures = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Rows and environment as JSON types; an infinite figure is ``"Infinity"``."""
        rows = [{key: _json(value) for key, value in row.items()} for row in self.rows]
        return {"rows": rows, "environment": dict(self.environment)}

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_dict(), indent=1)

    def to_csv(self) -> str:
        """The rows as a table, without the environment."""
        more = dict.fromkeys(key for row in self.rows for key in row if key not in COLUMNS)
        text = io.StringIO()
        writer = csv.DictWriter(text, (*COLUMNS, *more), lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            seeds = " ".join(str(seed) for seed in row["seeds"])
            writer.writerow({**{k: _json(v) for k, v in row.items()}, "seeds": seeds})
        return text.getvalue()

    def to_html(self, path: str | Path) -> Path:
        """Write a report for people: one file with plots, tables and styles inside, no network.

        Args:
            path: The file; its folder is made if it does not exist. Replaced in one step.

        Returns:
            The file.

        Raises:
            OSError: If it cannot be written; an old report is then intact.
        """
        return write_html(self._page(), path)

    def to_pdf(self, path: str | Path) -> Path:
        """Write the same report as a PDF.

        Args:
            path: The file; its folder is made if it does not exist. Replaced in one step.

        Returns:
            The file.

        Raises:
            SpecError: If there is no Chromium or Chrome to print with.
            SepmeError: If it prints nothing.
            OSError: If it cannot be written; an old report is then intact.
        """
        return write_pdf(self._page(), path)

    def _page(self) -> str:
        return benchmark_page(self.rows, self.environment, pictures=self.pictures, steps=captions())

    def write(self, path: Path) -> None:
        """Write the report in one step, as CSV if the name ends so, else as JSON.

        Args:
            path: The file.

        Raises:
            OSError: If it cannot be written; an old file is then intact.
        """
        text = self.to_csv() if path.suffix == ".csv" else self.to_json() + "\n"
        write_atomic(path, text.encode())


def _json(value: Any) -> Any:  # noqa: ANN401 (any JSON type)
    return "Infinity" if isinstance(value, float) and math.isinf(value) else value
