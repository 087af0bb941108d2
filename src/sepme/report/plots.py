"""Plots as SVG elements that take their colours from the page around them."""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _SOFT, _LINE = "#1d1c1a", "#5c5852", "#e2ddd3"
_HUES = ("#2f5d8a", "#a8501c", "#2c7a4f", "#7a4a9e", "#8a6d14", "#4a4f57")
_THEME = {_INK: "ink", _SOFT: "soft", _LINE: "line"}
_THEME |= {hue: f"hue-{i}" for i, hue in enumerate(_HUES)}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sepme",
    "font.size": 11,
    "font.family": "sans-serif",
    "text.color": _INK,
    "axes.labelcolor": _SOFT,
    "axes.edgecolor": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _SOFT,
    "ytick.labelcolor": _SOFT,
    "lines.markersize": 5,
    "legend.columnspacing": 1.2,
}
_MARKERS = "osD^vP"
_DODGE = 0.07
_WRITTEN_UP_TO = 9
_OUTSIDE = re.compile(
    r' xmlns(?::\w+)?="[^"]*"| version="[^"]*"| font-family: [^;]*;'
    r'|(?<= )(?:width|height)="[\d.]+pt"|<defs>\s*<style.*?</style>\s*</defs>',
    re.DOTALL,
)
"""What the page provides: name spaces, the size, fonts and the rules for line ends."""
_COLOUR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class Point:
    """One figure of a curve.

    Attributes:
        x: Place on the axis, from 0.
        value: The figure.
        low: Lower bound of its interval; None without one.
        high: Upper bound.
        reference: The same of the original model; None without one.
    """

    x: int
    value: float
    low: float | None = None
    high: float | None = None
    reference: float | None = None


def curves(
    series: Mapping[str, Sequence[Point]], ticks: Sequence[str], *, label: str, hues: Sequence[int]
) -> str:
    """Rates as curves with interval bars; the original's as dashes of the same colour.

    Args:
        series: Name to points.
        ticks: Names of the places on the horizontal axis.
        label: Name of the horizontal axis; empty where the ticks say enough.
        hues: Which of the page's six colours each curve has.

    Returns:
        An ``svg`` element without ids, external references or text as outlines.
    """
    with _canvas(height=3.1 + 0.25 * math.ceil(len(series) / 3)) as (figure, axes):
        middle = (len(series) - 1) / 2
        for i, ((name, points), hue) in enumerate(zip(series.items(), hues, strict=True)):
            colour, shift = _HUES[hue % len(_HUES)], (i - middle) * _DODGE
            _curve(axes, name, points, colour, _MARKERS[hue % len(_MARKERS)], shift)
        axes.set_ylim(-0.04, 1.04)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])
        long = sum(map(len, ticks)) > 40
        axes.set_xticks(range(len(ticks)), ticks)
        if long:
            _turn(axes)
        axes.set_xlim(-0.4, len(ticks) - 0.6)
        axes.set_xlabel(label)
        axes.grid(axis="y", color=_LINE, linewidth=0.8)
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        return _svg(figure)


def heat_map(
    cells: Mapping[tuple[str, str], float], rows: Sequence[str], cols: Sequence[str]
) -> str:
    """A matrix of figures as colours, written out too where there is room.

    Args:
        cells: Row and column to figure, at least 0; what is missing stays blank.
        rows: Row names, top to bottom.
        cols: Column names, left to right.

    Returns:
        An ``svg`` element without ids, external references or text as outlines.
    """
    top = max(cells.values(), default=0.0) or 1.0
    with _canvas(height=1.6 + 0.42 * len(rows)) as (figure, axes):
        from matplotlib import colormaps

        shades = colormaps["cividis"]
        for (row, col), value in cells.items():
            x, y = cols.index(col), rows.index(row)
            colour = shades(value / top)
            axes.fill([x, x + 1, x + 1, x], [y, y, y + 1, y + 1], color=colour, linewidth=0)
            if max(len(rows), len(cols)) <= _WRITTEN_UP_TO:
                ink = "#ffffff" if value < 0.55 * top else "#000000"
                axes.text(
                    x + 0.5, y + 0.5, _short(value), color=ink, ha="center", va="center", size=9
                )
        axes.set_xticks([i + 0.5 for i in range(len(cols))], cols)
        _turn(axes)
        axes.set_yticks([i + 0.5 for i in range(len(rows))], rows)
        axes.set_xlim(0, len(cols))
        axes.set_ylim(len(rows), 0)
        axes.tick_params(length=0)
        return _svg(figure)


def _turn(axes: Axes) -> None:
    """Make room for long names below the plot."""
    for text in axes.get_xticklabels():
        text.set(rotation=35, ha="right", rotation_mode="anchor")


def _curve(
    axes: Axes, name: str, points: Sequence[Point], colour: str, marker: str, shift: float
) -> None:
    at = [point.x + shift for point in points]
    axes.plot(at, [p.value for p in points], color=colour, marker=marker, label=name, linewidth=1.6)
    axes.plot(
        at,
        [math.nan if p.reference is None else p.reference for p in points],
        color=colour,
        linewidth=1,
        linestyle=(0, (3, 3)),
    )
    for x, point in zip(at, points, strict=True):
        if point.low is not None and point.high is not None:
            axes.plot([x, x], [point.low, point.high], color=colour, linewidth=3, alpha=0.35)


@contextmanager
def _canvas(height: float) -> Iterator[tuple[Figure, Axes]]:
    """An empty plot of one column's width."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5, height), layout="constrained")
        yield figure, figure.add_subplot()


def _svg(figure: Figure) -> str:
    """The figure as an element: no prologue, no ids nobody refers to, colours by name."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = _OUTSIDE.sub("", text[text.index("<svg") :])
    return _COLOUR.sub(_themed, _own_ids(text.replace("xlink:href", "href")))


def _own_ids(text: str) -> str:
    """Keep the ids that are referred to, under names no other plot has."""
    used = set(re.findall(r"(?<=#)[mp][0-9a-f]{10}\b", text))
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    text = re.sub(r' id="([\w.-]+)"', lambda m: m[0] if m[1] in used else "", text)
    return re.sub(r'(?<=[#"])([mp][0-9a-f]{10})\b', rf"p{mark}-\1", text)


def _themed(match: re.Match[str]) -> str:
    name = _THEME.get(match[0])
    return f"var(--{name}, {match[0]})" if name else match[0]


def _short(value: float) -> str:
    return "0" if value == 0 else f"{value:.2f}" if value >= 0.01 else f"{value:.0e}"
