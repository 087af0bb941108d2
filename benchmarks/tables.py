"""Put benchmark results into the pages of ``docs/experiments``.

``python -m benchmarks.tables RESULTS`` reads ``scenes-*.json``, ``ladder-*.json``,
``attacks-*.json``, ``methods-*.json`` and ``capacity-*.json``, as ``sepme bench ... --out`` writes
them, into ``docs/experiments``, without the rows of single time steps. A run replaces the one with
the same methods, domain and settings; others stay. Without a folder it only renders. Tables stand
in the pages between ``<!-- NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import capacity_page, gate_page, how_many, method_pages, scale_page, variants
from sepme.report.bench_attacks import attack_table
from sepme.report.bench_methods import methods_table
from sepme.report.tables import Table

PAGES = Path(__file__).parent.parent / "docs" / "experiments"
SETTINGS = PAGES / "capacity-settings.json"  # tried on train templates
BENCHMARKS = ("scenes", "ladder", "attacks", "methods", "capacity")
METHODS = ("sepme-text", "sepme", "sepme-joint", "sepme-free", "uce", "esd")
"""The order of the lines; methods that are not named come after, by name."""
ROLES = (
    ("forgotten", "erased_accuracy"),
    ("restored", "restored_accuracy"),
    ("regular", "retained_accuracy"),
)
SPLITS = ("literal", "heldout")

Row = dict[str, Any]
Runs = list[dict[str, Any]]
Lines = list[Sequence[str]]


def collect(
    results: Path, benchmark: str, prefix: str | None = None, templates: str = "heldout"
) -> Runs:
    """Every run of a benchmark, pooled rows only."""
    paths = sorted(results.glob(f"{prefix or benchmark}-*.json"))
    found = [json.loads(path.read_text()) for path in paths]
    runs = [run for run in found if run["rows"][0].get("benchmark") == benchmark]
    if any(run["environment"]["options"].get("templates", "heldout") != templates for run in runs):
        raise SystemExit(f"a run of {benchmark} in {results} is not on {templates} templates.")
    kept = [
        {**run, "rows": [row for row in run["rows"] if row.get("time") is None]} for run in runs
    ]
    return kept


def merged(old: Runs, new: Runs) -> Runs:
    """Runs with others put in place of those they repeat, in the order of the pages."""
    runs = {identity(run): run for run in (*old, *new)}
    return sorted(runs.values(), key=lambda run: place(run["rows"][0]["method"]))


def identity(run: Mapping[str, Any]) -> str:
    """What a run and its repetition share."""
    told = run["environment"]["options"]
    names = ("method", "methods", "domain", "retained", "hyperparameters", "sizes", "reproject")
    values = [*(told.get(name) or None for name in names), told.get("amplify", 1.0)]
    return json.dumps(values, sort_keys=True)


def place(method: str) -> tuple[int, str]:
    """Where a method stands among the others."""
    return METHODS.index(method) if method in METHODS else len(METHODS), method


def rate(row: Row | None) -> str:
    """A rate with its interval, in per cent."""
    if row is None:
        return ""
    low, high = 100 * row["lo"], 100 * row["hi"]
    return f"{100 * row['value']:.0f} ({low:.0f}-{high:.0f})"


def find(rows: Sequence[Row], metric: str, **more: Any) -> Row | None:
    """The row of a metric under some circumstances."""
    for row in rows:
        if row["metric"] == metric and all(row.get(key) == value for key, value in more.items()):
            return row
    return None


def markdown(columns: Sequence[str], lines: Lines) -> str:
    """A table in Markdown."""
    rows = [columns, ["---"] * len(columns), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def scenes(runs: Runs, domain: str) -> str:
    """Every method and scene: accuracies of the roles, and pixel differences."""
    lines: Lines = []
    for run in runs:
        options = run["environment"]["options"]
        if options["domain"] == domain:
            spared = ", reprojected" if options.get("reproject") else ""
            most = options.get("amplify", 1.0)
            louder = f", at most {most:g} times amplified" if spared and most > 1 else ""
            name = f"{options['method']}{spared}{louder}"
            lines += [scene_line(run["rows"], name, k) for k in options["scenes"]]
    shown = [f"{role}, {split}" for role, _ in ROLES for split in SPLITS]
    return markdown(("method", "scene", *shown, "restored", "not listed", "blank"), lines)


def scene_line(rows: Sequence[Row], method: str, scene: int) -> list[str]:
    """One line of `scenes`."""
    at = {"scene": scene}
    shares = [
        rate(find(rows, metric, concepts=role, split=split, **at))
        for role, metric in ROLES
        for split in SPLITS
    ]
    exact = find(rows, "restore_error", concepts="restored", **at)
    other = find(rows, "restore_error_unlisted", concepts="restored", **at)
    blank = [
        find(rows, metric, concepts="blank", **at)
        for metric in ("restore_error", "restore_error_unlisted")
    ]
    steps = [f"{row['value']:.0f}" if row else "" for row in (exact, other, blank[0] or blank[1])]
    return [method, str(scene), *shares, *steps]


def ladder(runs: Runs, concept: str) -> str:
    """Every rung of a concept: the original, the gold model and every method."""
    lines: Lines = []
    rungs = dict.fromkeys(
        (row["rung"], row["metric"])
        for run in runs
        for row in run["rows"]
        if row["metric"] in ("erased_accuracy", "retained_accuracy", "cross_domain_accuracy")
    )
    for rung, metric in rungs:
        cross = "cross_domain_accuracy" if rung == "composition" else "accuracy"
        base = [find(runs[0]["rows"], f"{party}_{cross}", concepts=concept, rung=rung)
                for party in ("original", "gold")]  # fmt: skip
        own = [find(run["rows"], metric, concepts=concept, rung=rung) for run in runs]
        lines.append([rung, *map(rate, [*base, *own])])
    methods = [run["environment"]["options"]["method"] for run in runs]
    return markdown(("rung", "original", "never taught", *methods), lines)


def attacks(runs: Runs, concept: str) -> str:
    """Every attack on a concept erased by the first method."""
    rows = [row for row in runs[0]["rows"] if row["concepts"] == concept]
    return as_markdown(attack_table(rows, ""))


def methods(runs: Runs, domain: str, task: str) -> str:
    """Every method on one task: accuracies, distance, restoration and cost."""
    rows = [
        row for run in runs for row in run["rows"] if (row["domain"], row["task"]) == (domain, task)
    ]
    if not rows:
        return "Not run."
    return as_markdown(methods_table(sorted(rows, key=lambda row: place(row["method"]))))


def implicit(rows: Sequence[Row]) -> str:
    """Every way to be rid of a logo: how many images show it, and how many their object."""
    lines: Lines = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        logo, thing = (
            find(rows, metric, arm=arm) for metric in ("implicit concept ratio", "object accuracy")
        )
        seconds = logo["fit_seconds"] if logo else None
        lines.append([arm, rate(logo), rate(thing), f"{seconds:.0f}" if seconds else ""])
    return markdown(("", "logo seen", "object seen", "seconds of the fit"), lines)


def as_markdown(table: Table) -> str:
    """A report's table in Markdown."""
    return markdown(table.columns, [[cell.text for cell in row] for row in table.rows])


def compared(runs: Runs, concept: str) -> str:
    """What shows after the attacks that were tried on every method."""
    tried = [
        {row["attack"] for row in run["rows"] if row["metric"] == "post_success_rate"}
        for run in runs
    ]
    common = [
        row["attack"]
        for row in runs[-1]["rows"]
        if row["metric"] == "post_success_rate" and row["attack"] in set.intersection(*tried)
    ]
    asked: list[tuple[str, str, Row]] = [("no attack", "pre_success_rate", {})]
    asked += [(name, "post_success_rate", {"attack": name}) for name in dict.fromkeys(common)]
    shown = [("original", "original", runs[0]), ("never taught", "gold", runs[0])]
    shown += [(run["environment"]["options"]["method"], "erased", run) for run in runs]
    lines: Lines = [
        [title, *(rate(find(run["rows"], metric, concepts=concept, party=party, **more))
                  for _, metric, more in asked)]
        for title, party, run in shown
    ]  # fmt: skip
    return markdown(("", *(name for name, _, _ in asked)), lines)


def rendered(kept: Mapping[str, Runs]) -> Iterator[tuple[str, str, str]]:
    """Page, seen from ``docs/experiments``, name of the table in it, and the table."""
    for domain in ("styles", "objects"):
        yield "scenes.md", domain, scenes(kept["scenes"], domain)
        for task in ("each", "joint"):
            yield "methods.md", f"{domain} {task}", methods(kept["methods"], domain, task)
    for concept in ("van-gogh", "church"):
        yield "ladder.md", concept, ladder(kept["ladder"], concept)
        yield "attacks.md", concept, attacks(kept["attacks"], concept)
        yield "attacks.md", f"{concept} compared", compared(kept["attacks"], concept)
    many = how_many.finest(kept["capacity"])
    for name, columns, lines in how_many.blocks(many):
        yield "../how-many.md", name, markdown(columns, lines) if lines else "Not run."
    tried = how_many.finest(json.loads(SETTINGS.read_text()))
    yield "../how-many.md", "settings", markdown(*how_many.settings(tried))
    yield "../how-many.md", "curves", how_many.SHOWN if many else "Not run."
    yield "implicit.md", "implicit", implicit(rows_of("implicit"))
    for page, blocks in (
        ("../cluster.md", capacity_page.blocks(rows_of("capacity-plan"))),
        ("timings.md", scale_page.scale(rows_of("scale"))),
        ("timings.md", scale_page.growing(rows_of("growing"))),
        ("timings.md", scale_page.policies(rows_of("policies"))),
        ("../methods/sepme-text.md", gate_page.blocks(rows_of("gate"))),
    ):
        for name, columns, lines in blocks:
            yield page, name, markdown(columns, lines)
    for path in sorted(PAGES.glob("variants-*.json")):
        columns, lines = variants.table(rows_of(path.stem))
        method = path.stem.removeprefix("variants-")
        yield f"../methods/{method}.md", "variants", markdown(columns, lines)
    for method, block in method_pages.blocks([r for run in kept["methods"] for r in run["rows"]]):
        yield f"../methods/{method}.md", "demo", block


def rows_of(name: str) -> list[Row]:
    """The rows of a script's result in ``docs/experiments``."""
    found: list[Row] = json.loads((PAGES / f"{name}.json").read_text())["rows"]
    return found


def put(path: Path, name: str, table: str) -> None:
    """Put a table between its marks in a page."""
    text, found = re.subn(
        rf"<!-- {name} -->.*?<!-- end -->",
        lambda _: f"<!-- {name} -->\n{table}\n<!-- end -->",
        path.read_text(),
        flags=re.DOTALL,
    )
    if found != 1:
        raise SystemExit(f"{path} has {found} places for {name!r}; it needs one.")
    path.write_text(text)


def main() -> None:
    """Collect, if there is something to collect, and render."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("results", type=Path, nargs="?", help="folder of results")
    chosen = parser.parse_args()
    for name in BENCHMARKS if chosen.results else ():
        path = PAGES / f"{name}.json"
        if runs := collect(chosen.results, name):
            path.write_text(json.dumps(merged(json.loads(path.read_text()), runs)) + "\n")
    if chosen.results and (tried := collect(chosen.results, "capacity", "settings", "train")):
        SETTINGS.write_text(json.dumps(tried) + "\n")
    kept = {name: json.loads((PAGES / f"{name}.json").read_text()) for name in BENCHMARKS}
    for page, name, table in rendered(kept):
        put(PAGES / page, name, table)
    if rows := how_many.finest(kept["capacity"]):
        how_many.plot(rows)


if __name__ == "__main__":
    main()
