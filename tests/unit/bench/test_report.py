"""Tidy rows as JSON and CSV."""

import csv
import io
import json
import math
from pathlib import Path

from sepme.bench.report import COLUMNS, Report

ROW = dict(
    benchmark="scenes", method="sepme", concepts="regular", split="heldout", metric="drift_psnr",
    value=math.inf, n=8, lo=None, hi=None, seeds=[0, 1], scene=1,
)  # fmt: skip


def test_json_is_standard(tmp_path: Path) -> None:
    report = Report((ROW,), {"seconds": 1.0})
    report.write(tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda _: 1 / 0)
    assert written == {"rows": [ROW | {"value": "Infinity"}], "environment": {"seconds": 1.0}}


def test_csv_has_every_column(tmp_path: Path) -> None:
    Report((ROW, {k: v for k, v in ROW.items() if k != "scene"}), {}).write(tmp_path / "rows.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "rows.csv").read_text())))
    assert list(rows[0]) == [*COLUMNS, "scene"]
    assert (rows[0]["seeds"], rows[0]["scene"], rows[1]["scene"]) == ("0 1", "1", "")
