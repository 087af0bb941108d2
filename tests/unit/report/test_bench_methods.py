"""The table of methods: what stands in a line, and what has none."""

import pytest

from sepme.report.bench_methods import methods_table, parts
from sepme.report.tables import Table
from tests.pages import method_rows


def lines(table: Table) -> list[dict[str, str]]:
    return [
        dict(zip(table.columns, (cell.text for cell in row), strict=True)) for row in table.rows
    ]


def test_a_line_for_each_method_and_task_below_the_original() -> None:
    shown = lines(methods_table(method_rows()))
    assert [(line["Method"], line["Task"]) for line in shown] == [
        ("original", "3 styles, each alone"),
        ("sepme", "3 styles, each alone"),
        ("uce", "3 styles, each alone"),
        ("original", "3 styles, together"),
        ("sepme", "3 styles, together"),
        ("uce", "3 styles, together"),
        ("original", "cat"),
        ("sepme", "cat"),
    ]
    assert shown[4] == {
        "Method": "sepme",
        "Task": "3 styles, together",
        "Erased, own prompts": "12 (6-23)",
        "Erased, templates": "12 (6-23)",
        "Kept, same domain": "94 (85-98)",
        "Kept, other domain": "100 (94-100)",
        "Drawn with it": "95 (87-98)",
        "n": "64",
        "PSNR, dB": "identical",
        "Feature distance": "0.125",
        "One restored": "31*",
        "All restored": "0",
        "Seconds": "1.5",
        "Peak MB": "≤ 600",
        "KB per concept": "43.5",
        "Failed": "",
    }
    assert shown[0]["Erased, own prompts"] == "98 (92-100)"
    assert shown[-1]["Failed"] == "fit: no direction"


def test_a_pool_replaces_the_concepts_in_it() -> None:
    one = [row | {"task": "one", "concepts": "fluent"} for row in method_rows()]
    styles = [row for row in one if row["domain"] == "styles"]
    assert "fluent" not in {line["Task"] for line in lines(methods_table(styles + method_rows()))}
    assert {line["Task"] for line in lines(methods_table(styles))} == {"fluent"}  # inverse check


def test_parts_hold_every_column_and_no_empty_line() -> None:
    table = methods_table(method_rows())
    seen, moved, spent = parts(table)
    assert [*seen.columns, *moved.columns[2:], *spent.columns[2:]] == list(table.columns)
    assert {row[0].text for row in seen.rows} == {"original", "sepme", "uce"}
    assert {row[0].text for row in moved.rows} == {"sepme", "uce"}
    assert [row[1].text for row in spent.rows][-1] == "cat"


@pytest.mark.parametrize("metric", ["seconds", "drift_psnr", "restore_error"])
def test_what_was_not_measured_has_no_column(metric: str) -> None:
    left = [row for row in method_rows() if row["metric"] != metric]
    gone = set(methods_table(method_rows()).columns) - set(methods_table(left).columns)
    assert bool(gone)
