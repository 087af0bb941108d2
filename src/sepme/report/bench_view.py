"""Benchmark rows arranged for the page: tables, plots and words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from sepme.report.bench_attacks import attack_views
from sepme.report.bench_methods import methods_view
from sepme.report.bench_sentences import bench_sentences
from sepme.report.bench_tables import (
    SPLITS,
    accuracy_table,
    drift_table,
    every_row,
    ladder_table,
    partner,
    party_of,
    split_words,
)
from sepme.report.page import data_uri
from sepme.report.plots import Point, curves, heat_map
from sepme.verify.evidence import Row

if TYPE_CHECKING:
    from PIL.Image import Image

Pictures: TypeAlias = "Mapping[str, Sequence[Image] | Mapping[str, Image]]"
"""Caption to images of one prompt and seed; a mapping names each, such as ``"erased"``."""

_ROLES = {
    "forgotten": ("erased_accuracy", 1),
    "restored": ("restored_accuracy", 0),
    "regular": ("retained_accuracy", 2),
}
"""Role to its metric and its colour."""
_PARTIES = {"original": 0, "never taught": 2, "erased": 1}
"""Model to its colour."""


def bench_view(
    rows: Sequence[Row],
    environment: Mapping[str, Any],
    pictures: Pictures,
    steps: Mapping[int, Sequence[str]],
) -> dict[str, Any]:
    """Everything the template shows.

    Args:
        rows: The figures.
        environment: Machine, versions, options and date.
        pictures: Caption to images.
        steps: Scene to what happens at each time.

    Returns:
        Names to values for the template.
    """
    methods = list(dict.fromkeys(row["method"] for row in rows))
    benchmarks = list(dict.fromkeys(row["benchmark"] for row in rows))
    return {
        "title": f"Benchmark of {_list(methods)}: {_list(benchmarks)}",
        "sentences": bench_sentences(rows),
        "measured": list(_measured(rows, environment)),
        "cards": [_card(caption, images) for caption, images in pictures.items()],
        "plays": list(_plays(rows, steps)),
        "ladders": list(_ladders(rows)),
        "matrices": list(_matrices(rows)),
        "attacks": list(attack_views(rows)),
        "compared": list(methods_view(rows)),
        "everything": every_row(rows),
        "environment": environment,
        "circumstances": list(_circumstances(environment)),
    }


def _measured(rows: Sequence[Row], environment: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, key in (("Benchmark", "benchmark"), ("Method", "method"), ("Domain", "domain")):
        found = dict.fromkeys(str(row[key]) for row in rows if row.get(key))
        if found:
            yield name, _list(list(found))
    for name, key in (("Base model", "base"), ("Detector", "detector")):
        if environment.get(key):
            yield name, str(environment[key])
    splits = dict.fromkeys(split_words(row) for row in rows)
    yield "Prompts", _list(list(splits))
    seeds = sorted({seed for row in rows for seed in row["seeds"]})
    yield "Seeds", ", ".join(map(str, seeds))
    yield "Figures", str(len(rows))


def _plays(rows: Sequence[Row], steps: Mapping[int, Sequence[str]]) -> Iterator[dict[str, Any]]:
    scenes = [row for row in rows if row["benchmark"] == "scenes"]
    for method, domain in dict.fromkeys((row["method"], row["domain"]) for row in scenes):
        own = [row for row in scenes if (row["method"], row["domain"]) == (method, domain)]
        numbers = sorted({row["scene"] for row in own})
        yield {
            "name": f"{method}, {domain}",
            "scenes": [
                {
                    "number": number,
                    "steps": list(steps.get(number, ())),
                    "plots": list(_scene_plots([row for row in own if row["scene"] == number])),
                }
                for number in numbers
            ],
            "tables": [accuracy_table(own), drift_table(own)],
        }


def _scene_plots(rows: Sequence[Row]) -> Iterator[dict[str, str]]:
    times = sorted({row["time"] for row in rows if row["time"] is not None})
    for split, words in SPLITS.items():
        series = {}
        for role, (metric, _) in _ROLES.items():
            found = [r for r in rows if (r["metric"], r["split"]) == (metric, split)]
            points = [
                _point(row, times.index(row["time"]), partner(rows, row, "original_accuracy"))
                for row in found
                if row["time"] is not None
            ]
            if points:
                series[role] = points
        if series:
            hues = [_ROLES[role][1] for role in series]
            drawn = curves(series, [str(time) for time in times], label="time step", hues=hues)
            yield {"caption": words[:1].upper() + words[1:], "svg": drawn}


def _point(row: Row, x: int, before: Row | None = None) -> Point:
    reference = None if before is None else float(before["value"])
    return Point(x, float(row["value"]), row["lo"], row["hi"], reference)


def _ladders(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    ladder = [row for row in rows if row["benchmark"] == "ladder"]
    for method, concept in dict.fromkeys((row["method"], row["concepts"]) for row in ladder):
        own = [row for row in ladder if (row["method"], row["concepts"]) == (method, concept)]
        rungs = list(dict.fromkeys(str(row["rung"]) for row in own))
        series: dict[str, list[Point]] = {}
        for row in own:
            series.setdefault(party_of(row), []).append(_point(row, rungs.index(str(row["rung"]))))
        yield {
            "name": f"{concept}, {method}",
            "svg": curves(series, rungs, label="", hues=[_PARTIES[name] for name in series]),
            "table": ladder_table(own, f"Ladder of {concept}, {method}"),
        }


def _matrices(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    found = [row for row in rows if row["metric"] == "separability" and "concept_i" in row]
    for method, split in dict.fromkeys((row["method"], row["split"]) for row in found):
        own = [row for row in found if (row["method"], row["split"]) == (method, split)]
        cells = {(row["concept_i"], row["concept_j"]): float(row["value"]) for row in own}
        shifts = list(dict.fromkeys(row["concept_i"] for row in own))
        concepts = list(dict.fromkeys(row["concept_j"] for row in own))
        yield {"name": f"{method}, {split_words(own[0])}", "svg": heat_map(cells, shifts, concepts)}


def _card(caption: str, images: Sequence[Image] | Mapping[str, Image]) -> dict[str, Any]:
    named = images.items() if isinstance(images, Mapping) else (("", image) for image in images)
    shots = [
        {
            "state": state,
            "source": data_uri(image),
            "label": "",
            "hit": False,
            "alt": f"{state}: {caption}" if state else caption,
        }
        for state, image in named
    ]
    return {"caption": caption, "shots": shots}


def _circumstances(environment: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in environment.items():
        if isinstance(value, Mapping):
            told = ", ".join(f"{name} {_told(part)}" for name, part in value.items())
        else:
            told = _told(value)
        yield key[:1].upper() + key[1:].replace("_", " "), told


def _told(value: Any) -> str:  # noqa: ANN401 (any JSON type)
    return _list(list(map(str, value))) if isinstance(value, list | tuple) else str(value)


def _list(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
