import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from sepme.core.concept import Concept
from sepme.metrics import paired_drop, wilson
from sepme.report import headline, sentences, write_report
from sepme.verify import Check, Evidence, Thresholds, Triplet
from sepme.verify.judge import judge

GOGH = Concept("van-gogh", ("Van Gogh",), kind="style")
HOKUSAI = Concept("hokusai", ("Hokusai",), kind="style")
ENVIRONMENT = {
    "date": "2030-01-02T03:04:05+00:00",
    "model": "demo",
    "base": "sha256:0",
    "ledger": "00",
    "detector": "Detector sha256:1",
    "n": 96,
    "seed": 0,
    "image_seeds": "100000 and up",
    "images": 300,
    "batch": 8,
    "sampler": "DDIMScheduler, 25 steps",
    "seconds": 1.5,
    "threads": 1,
    "device": "cpu",
    "python": "3.12",
    "versions": {"sepme": "0.1.0"},
}


def row(concepts: str, split: str, metric: str, value: float, n: int, **bounds: float) -> dict:
    figure = {"concepts": concepts, "split": split, "metric": metric, "value": value, "n": n}
    common = {"benchmark": "verify", "method": "sepme", "seeds": [0], "lo": None, "hi": None}
    return common | figure | bounds


def rate(concepts: str, split: str, metric: str, seen: int, n: int) -> dict:
    low, high = wilson(seen, n)
    return row(concepts, split, metric, seen / n, n, lo=low, hi=high)


def evidence(
    *, seen: int = 2, detector: bool = True, prompt: str = "a cat by Van Gogh"
) -> Evidence:
    drop, low, high = paired_drop([True] * 40, [True] * 39 + [False])
    rows = [
        rate("van-gogh", "heldout", "original_accuracy", 47, 48),
        rate("van-gogh", "heldout", "erased_accuracy", seen, 96),
        rate("van-gogh", "heldout", "cross_domain_accuracy", 90, 96),
        rate("styles", "heldout", "original_accuracy", 40, 40),
        rate("styles", "heldout", "retained_accuracy", 39, 40),
        row("styles", "heldout", "retained_drop", drop, 40, lo=low, hi=high),
        row("hokusai", "literal", "drift_psnr", float("inf"), 24),
        row("hokusai", "literal", "restore_error", 1, 24),
    ]
    if not detector:
        rows = rows[-2:]
    pictures = tuple(Image.new("RGB", (64, 64), color) for color in ("red", "white", "red"))
    labels = ("van-gogh", "plain", "van-gogh") if detector else (None, None, None)
    return Evidence(
        erased=(GOGH,),
        restored=(HOKUSAI,),
        rows=tuple(rows),
        checks=(Check("everything restored: weights", True, "All equal."),),
        judgements=judge(rows, (GOGH, HOKUSAI), Thresholds()),
        thresholds=Thresholds(),
        judged=("van-gogh",) if detector else (),
        grids=(Triplet("van-gogh", prompt, 100_000, pictures, labels),),
        environment=ENVIRONMENT | ({} if detector else {"detector": None, "model": "a/b"}),
    )


class Page(HTMLParser):
    void = frozenset({"meta", "img", "br", "rect"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += f" {data}"


@pytest.fixture
def written(tmp_path):
    def write(found: Evidence) -> tuple[str, Page]:
        html = write_report(found, tmp_path / "new" / "report.html").read_text(encoding="utf-8")
        return html, Page(html)

    return write


def test_the_page_is_well_formed_and_complete_in_itself(written) -> None:
    html, page = written(evidence())
    assert not re.search(r"https?://|<script|<link|@import|url\(", html)
    sources = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    assert len(sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in sources)


def test_the_page_is_accessible(written) -> None:
    html, page = written(evidence())
    assert "<html lang=" in html
    assert all(attrs["alt"] for tag, attrs in page.tags if tag == "img")
    assert all(attrs["scope"] for tag, attrs in page.tags if tag == "th")
    assert [tag for tag, _ in page.tags].count("h1") == 1
    assert "prefers-color-scheme: dark" in html


def test_it_says_what_was_found_and_what_it_does_not_show(written) -> None:
    _, page = written(evidence())
    said = " ".join(page.text.split())
    for phrase in (
        "“Van Gogh” was asked for 96 times in wordings never used in training; "
        "the detector still saw it 2 times.",
        "In images of the original model it saw it 47 of 48 times.",
        "differ from the original's by at most 1 of 255",
        "What this does not show",
        "suppresses generation",
        "whoever holds the base weights can undo",
        "demonstration model",
        "0.6 to 7.3 %",
    ):
        assert phrase in said


@pytest.mark.parametrize(
    ("seen", "words"), [(0, "the detector never saw it."), (1, "the detector still saw it once.")]
)
def test_small_counts_read_well(seen: int, words: str) -> None:
    assert words in sentences(evidence(seen=seen))[0]


def test_a_failure_comes_first(written) -> None:
    found = evidence(seen=20)
    _, page = written(found)
    assert not found.passed
    assert headline(found) == "This model did not pass."
    assert page.text.index("Seen in 20.8 %") < page.text.index("See for yourself")
    assert headline(evidence()) == "Van Gogh is suppressed. Hokusai is back."


def test_without_a_detector_nothing_is_called_verified(written) -> None:
    found = evidence(detector=False)
    _, page = written(found)
    assert found.passed
    assert not found.erasure_verified
    assert "erasure not verified" in found.verdict
    assert "erasure not verified" in page.text
    assert "Nobody looked for the concept." in page.text
    assert "demonstration model" not in page.text
    assert evidence().erasure_verified


def test_prompts_cannot_inject_markup(written) -> None:
    html, _ = written(evidence(prompt='<script>alert("x")</script>'))
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_a_failed_write_leaves_the_old_report(tmp_path, monkeypatch) -> None:
    path = write_report(evidence(), tmp_path / "report.html")
    before = path.read_bytes()

    def full(_handle: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("sepme.io.atomic.os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_report(evidence(seen=20), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_evidence_is_plain_json() -> None:
    data = json.loads(json.dumps(evidence().to_dict(), allow_nan=False))
    assert data["passed"] is True
    assert [r["value"] for r in data["rows"] if r["metric"] == "drift_psnr"] == ["Infinity"]
    assert float("Infinity") == float(data["rows"][6]["value"])
