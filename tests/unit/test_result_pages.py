"""The tables in the result pages are those of the committed rows."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kept(tables) -> dict:
    return {n: json.loads((tables.PAGES / f"{n}.json").read_text()) for n in tables.BENCHMARKS}


def test_pages_say_what_was_measured(tables) -> None:
    for page, name, table in tables.rendered(kept(tables)):
        text = (tables.PAGES / page).read_text()
        assert f"<!-- {name} -->\n{table}\n<!-- end -->" in text, f"render {page} anew"


def test_every_mark_is_a_table(tables) -> None:
    docs = ROOT / "docs"
    marks = {
        (page.relative_to(docs), mark)
        for page in docs.rglob("*.md")
        for mark in re.findall(r"<!-- (.+?) -->", page.read_text())
        if mark != "end"
    }
    given = {
        ((tables.PAGES / page).resolve().relative_to(docs), name)
        for page, name, _ in tables.rendered(kept(tables))
    }
    assert marks == given


def capacity_run(images: int, *sizes: int) -> dict:
    row = {"method": "uce", "retained": "rest", "stage": "at once", "metric": "exact"}
    rows = [row | {"size": size, "n": images} for size in sizes]
    return {"rows": rows, "environment": {"options": {"images": images}}}


def test_of_two_runs_of_one_size_the_finer_counts(tables) -> None:
    finest = tables.how_many.finest
    found = finest([capacity_run(96, 5, 10), capacity_run(384, 10)])
    assert [(row["size"], row["n"]) for row in found] == [(5, 96), (10, 384)]
    with pytest.raises(SystemExit, match="same lines"):
        finest([capacity_run(96, 5), capacity_run(96, 5, 10)])


def test_another_figure_gives_another_table(tables) -> None:
    runs = kept(tables)["ladder"]
    before = tables.ladder(runs, "church")
    tables.find(runs[0]["rows"], "erased_accuracy", concepts="church")["value"] += 0.5
    assert tables.ladder(runs, "church") != before


def test_a_slower_task_gives_another_plan(tables) -> None:
    rows = json.loads((tables.PAGES / "capacity-plan.json").read_text())["rows"]
    slower = [row | {"seconds": 2 * row["seconds"]} for row in rows]
    page = tables.capacity_page
    before, after = (dict((block[0], block[2]) for block in page.blocks(r)) for r in (rows, slower))
    assert all(before[name] != after[name] for name in ("measured", "plan"))
    assert page.spelled(144_070) == "40.0 hours"
    assert page.spelled(1445) == "24.1 minutes"
    assert page.spelled(26.4) == "26.4 seconds"


def test_pages_of_methods_judge_by_the_rows(tables) -> None:
    halved = tables.method_pages.halved
    before = {"value": 1.0, "lo": 0.9}
    assert halved({"value": 0.5, "hi": 0.8}, before)
    assert not halved({"value": 0.51, "hi": 0.8}, before)
    assert not halved({"value": 0.4, "hi": 0.91}, before)
