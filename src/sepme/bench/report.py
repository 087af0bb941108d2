"""What a benchmark found, as tidy rows."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sepme.io.atomic import write_atomic
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
    """

    rows: tuple[Row, ...]
    environment: Mapping[str, Any]

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
