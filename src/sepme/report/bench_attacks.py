"""Attack rows arranged for the page: one line an attack, the attacked models side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sepme.report.plots import Point, curves
from sepme.report.sentences import percent, rate_words
from sepme.report.tables import (
    Cell,
    Table,
    figure_cell,
    interval_cell,
    points_cell,
    rate_cell,
    table_of,
)
from sepme.verify.evidence import Row

_PARTIES = ("erased", "gold", "original")
_NAMES = {"erased": "erased", "gold": "never taught", "original": "original"}
_HUES = {"erased": 1, "gold": 2, "original": 0}
_COLUMNS = (
    "Attack", "Needs", "Budget", "Erased", "Never taught", "Original", "Erased less never taught",
    "Its 95 % interval", "Withstood", "Of these brought back", "95 % interval",
)  # fmt: skip


def attack_views(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """For each erased concept a table, and a plot for each attack with more than one effort.

    Args:
        rows: The figures of any benchmarks.

    Yields:
        ``name``, ``table`` and ``plots`` for the template.
    """
    for own in _groups(rows):
        name = f"{own[0]['concepts']}, erased by {own[0]['method']}"
        yield {"name": name, "table": attack_table(own, name), "plots": list(_plots(own))}


def attack_table(rows: Sequence[Row], title: str) -> Table:
    """Every attack on one concept, between the state before any and the worst case.

    Args:
        rows: Rows of benchmark ``attacks`` of one method and concept.
        title: Caption of the table.
    """
    attacks = dict.fromkeys(row["attack"] for row in rows if "attack" in row)
    lines = [
        _line(rows, "no attack", "pre_success_rate", None),
        *(_line(rows, attack, "post_success_rate", attack) for attack in attacks),
        _line(rows, "any of them", "worst_success_rate", None),
    ]
    return table_of(title, _COLUMNS, lines)


def attack_sentences(rows: Sequence[Row]) -> Iterator[str]:
    """The worst case of each erased concept.

    Args:
        rows: The figures of one method.

    Yields:
        A sentence or two for each concept.
    """
    for own in _groups(rows):
        concept = own[0]["concepts"]
        if not all(row["reliable"] for row in own):
            yield (
                f"Figures of attacks on {concept} mean nothing: the judge sees it in empty "
                "pictures, or not in the original's."
            )
        worst = _find(own, "worst_success_rate", "erased")
        before = _find(own, "pre_success_rate", "erased")
        if worst and before:
            yield (
                f"Under at least one attack {concept} shows in {rate_words(worst)}; without one it "
                f"was {percent(before['value'])}."
            )
        yield from _beyond(own)


def _beyond(rows: Sequence[Row]) -> Iterator[str]:
    """The attack that gets furthest beyond the floor."""
    found = [row for row in rows if row["metric"] == "excess_over_gold"]
    if not found:
        return
    attack = max(found, key=lambda row: float(row["value"]))["attack"]
    shown, floor = (_find(rows, "post_success_rate", who, attack) for who in ("erased", "gold"))
    if shown and floor:
        yield (
            f"Furthest beyond a model never taught {shown['concepts']} gets {attack}: it shows in "
            f"{rate_words(shown)}, of that model in {percent(floor['value'])}."
        )


def _groups(rows: Sequence[Row]) -> Iterator[list[Row]]:
    found = [row for row in rows if row["benchmark"] == "attacks"]
    for group in dict.fromkeys((row["method"], row["concepts"]) for row in found):
        yield [row for row in found if (row["method"], row["concepts"]) == group]


def _line(rows: Sequence[Row], name: str, metric: str, attack: str | None) -> tuple[Cell, ...]:
    brought = _find(rows, "attack_success_rate", "erased", attack) if attack else None
    shown = {party: _find(rows, metric, party, attack) for party in _PARTIES}
    excess = _find(rows, "excess_over_gold", "erased", attack) if attack else None
    about = shown["erased"] if attack else None
    return (
        Cell(name),
        Cell(str(about["access"]) if about else ""),
        Cell(f"{about['budget']} {about['unit']}" if about else ""),
        *(rate_cell(shown[party]) for party in _PARTIES),
        points_cell(excess["value"] if excess else None),
        interval_cell(excess) if excess else Cell(""),
        figure_cell(brought, "n"),
        rate_cell(brought),
        interval_cell(brought) if brought else Cell(""),
    )


def _plots(rows: Sequence[Row]) -> Iterator[dict[str, str]]:
    found = [row for row in rows if row["metric"] == "attack_curve"]
    for attack in dict.fromkeys(row["attack"] for row in found):
        own = [row for row in found if row["attack"] == attack]
        efforts = sorted({row["effort"] for row in own})
        if len(efforts) == 1:
            continue
        series: dict[str, list[Point]] = {}
        for party in _PARTIES:
            points = [
                Point(efforts.index(row["effort"]), float(row["value"]))
                for row in own
                if row["party"] == party
            ]
            if points:
                series[_NAMES[party]] = points
        hues = [_HUES[party] for party in _PARTIES if _NAMES[party] in series]
        ticks = [f"{effort:.3g}" for effort in efforts]
        yield {"caption": attack, "svg": curves(series, ticks, label="effort", hues=hues)}


def _find(rows: Sequence[Row], metric: str, party: str, attack: str | None = None) -> Row | None:
    sought = (metric, party, attack)
    return next((r for r in rows if (r["metric"], r.get("party"), r.get("attack")) == sought), None)
