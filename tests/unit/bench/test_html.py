"""The benchmark report as a page: what it says, what it leaves out, how a browser lays it out."""

import re
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from sepme.bench.report import Report
from sepme.errors import SepmeError, SpecError
from tests.pages import (
    CHROMIUM,
    ENVIRONMENT,
    attack_rows,
    browse,
    ladder_rows,
    matrix_rows,
    method_rows,
    scene_rows,
    whole_report,
)

BROWSER = "Chromium (apt-get install chromium)"
SECTIONS = {
    "Scenes: sepme, styles": scene_rows,
    "Separability": matrix_rows,
    "From the bare name to a paraphrase": ladder_rows,
    "Under attack": attack_rows,
    "Methods side by side": method_rows,
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_report().to_html(tmp_path_factory.mktemp("page") / "new" / "report.html")


def headings(path: Path) -> list[str]:
    return re.findall(r"<h2[^>]*>([^<]*)</h2>", path.read_text(encoding="utf-8"))


def text(path: Path) -> str:
    bare = re.sub(r"<(style|script|svg).*?</\1>|<[^>]+>", " ", path.read_text(), flags=re.DOTALL)
    return " ".join(bare.split())


def test_the_page_is_complete_in_itself(page: Path) -> None:
    source = page.read_text(encoding="utf-8")
    assert not re.search(r"https?://|<link|@import|<script src|xmlns", source)
    assert set(re.findall(r"url\((.)", source)) == {"#"}
    ids = Counter(re.findall(r' id="([^"]+)"', source))
    assert max(ids.values()) == 1
    assert set(re.findall(r'(?:url\(|href=")#([\w-]+)', source)) <= ids.keys()
    assert source.count("<svg") == 2 * 2 + 1 + 1 + 2
    assert source.count('src="data:image/png;base64,') == 2 * 3 + 8


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_section_is_there_if_something_was_measured(heading: str, tmp_path: Path) -> None:
    alone = Report(tuple(SECTIONS[heading]()), ENVIRONMENT).to_html(tmp_path / "alone.html")
    assert [found for found in headings(alone) if found in SECTIONS] == [heading]
    assert "See for yourself" not in headings(alone)


def test_it_says_what_was_found(page: Path) -> None:
    said = text(page).replace("\N{NO-BREAK SPACE}", " ")
    for phrase in (
        "still recognised in 3 of 64 images, 4.7 % (95 % interval 1.6 to 12.9 %), "
        "on prompts never used in training (styles, scene 1, the worst of 2). "
        "In the original&#39;s images of the same prompts and seeds: 62 of 64.",
        "pixels differ from the original&#39;s by at most 1 of 255 (styles, 128 pairs of images).",
        "“typo” brought one back most often: van-gogh in 10 of 64 images",
        "The shift of van-gogh moves kandinsky most: 0.072 times",
        "Under at least one attack van-gogh shows in 33 of 64 images",
        "without one it was 3.1 %.",
        "Furthest beyond a model never taught van-gogh gets unlearn-diff-atk: it shows in 33 of 64",
        "of that model in 1.6 %.",
        "0 erase c0 c2 c4 1 restore c0 c2",
        "What this does not show",
        "sepme 0.1.0, torch 2.13.0",
    ):
        assert phrase in said


def test_the_worst_scene_is_told_whichever_it_is(tmp_path: Path) -> None:
    rows = [
        row | {"value": 1.0}
        if (row["metric"], row["scene"], row["time"]) == ("erased_accuracy", 3, None)
        else row
        for row in scene_rows()
    ]
    said = text(Report(tuple(rows), ENVIRONMENT).to_html(tmp_path / "page.html"))
    assert "still recognised in 64 of 64 images" in said
    assert "scene 3, the worst of 2" in said


def test_rows_read_back_from_json_give_the_same_page(page: Path, tmp_path: Path) -> None:
    report = whole_report()
    again = replace(report, rows=tuple(report.to_dict()["rows"])).to_html(tmp_path / "again.html")
    assert again.read_bytes() == page.read_bytes()


def test_markup_in_rows_stays_text(tmp_path: Path) -> None:
    rows = tuple(row | {"rung": "<script>alert(1)</script>"} for row in ladder_rows())
    source = Report(rows, ENVIRONMENT).to_html(tmp_path / "page.html").read_text()
    assert source.count("<script") == 1
    assert "&lt;script&gt;alert(1)" in source


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows_and_no_script_fails(
    page: Path, tmp_path: Path, width: int, require
) -> None:
    require(CHROMIUM is not None, BROWSER)
    seen = browse(page, tmp_path, width=width)
    assert seen.errors == []
    assert seen.width == seen.wide == width


def test_the_browser_notices_overflow_and_errors(page: Path, tmp_path: Path, require) -> None:
    require(CHROMIUM is not None, BROWSER)
    source = page.read_text(encoding="utf-8")
    wide = "<main><p style='width:2000px;max-width:none'>wide</p>"
    source = source.replace("<main>", wide, 1).replace('"use strict";', '"use strict"; broken();')
    (tmp_path / "bad.html").write_text(source, encoding="utf-8")
    seen = browse(tmp_path / "bad.html", tmp_path, width=390)
    assert seen.wide > seen.width == 390
    assert any("broken is not defined" in error for error in seen.errors)


@pytest.mark.parametrize(
    ("table", "column"), [("Recognised", "Now"), ("Distance from", "PSNR, dB")]
)
def test_tables_sort_by_number_and_say_so(
    page: Path, tmp_path: Path, table: str, column: str, require
) -> None:
    require(CHROMIUM is not None, BROWSER)
    probe = """(() => {
        const table = [...document.querySelectorAll("table")].find(
            (one) => one.caption.textContent.startsWith("TABLE"));
        const head = [...table.tHead.rows[0].cells].find(
            (one) => one.textContent === "COLUMN");
        const state = () => [head.getAttribute("aria-sort"), [...table.tBodies[0].rows].map(
            (row) => row.cells[head.cellIndex].dataset.order)];
        const found = [state()];
        for (const _ of "12") { head.querySelector("button").click(); found.push(state()); }
        return found;
    })()""".replace("TABLE", table).replace("COLUMN", column)
    seen = browse(page, tmp_path, width=1280, probe=probe)
    assert seen.errors == []
    (before, given), (up, rising), (down, falling) = seen.found
    assert (before, up, down) == ("none", "ascending", "descending")
    assert rising == sorted(given, key=float) != given
    assert falling == sorted(given, key=float, reverse=True)


def test_pdf(tmp_path: Path, require) -> None:
    require(CHROMIUM is not None, BROWSER)
    written = Report(tuple(ladder_rows()), ENVIRONMENT).to_pdf(tmp_path / "new" / "report.pdf")
    data = written.read_bytes()
    assert data.startswith(b"%PDF-")
    assert len(data) > 10_000


def test_pdf_without_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpecError, match="apt-get install chromium"):
        whole_report().to_pdf(tmp_path / "report.pdf")


def test_pdf_with_a_broken_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*words: object, **more: object) -> None:
        raise subprocess.CalledProcessError(1, "chromium")

    monkeypatch.setattr("sepme.report.page.shutil.which", lambda name: name)
    monkeypatch.setattr("sepme.report.page.subprocess.run", nothing)
    with pytest.raises(SepmeError, match="printed no PDF"):
        whole_report().to_pdf(tmp_path / "report.pdf")
    assert list(tmp_path.iterdir()) == []
