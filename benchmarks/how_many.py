"""What the page on many concepts shows: tables, and curves against the number of concepts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
Lines = list[Sequence[str]]
Block = tuple[str, Sequence[str], Lines]
Own = Callable[..., Row | None]
"""Finds the row of a metric among those of one line."""

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "capacity.png"
SHOWN = "![Accuracy and separability against the number of concepts](images/capacity.png)"
"""Seen from the page."""
STAGES = {"at once": "at once", "arrivals": "one after another"}
"""Name of a table to the column ``stage``."""
FACTS = ("Exact", "Separability beside the erased", "Beside all", "Seconds", "Refused")
SEEN = (
    "Erased, own prompts", "Erased, templates", "Original, templates", "Kept styles", "Fall",
    "Kept objects", "Fall",
)  # fmt: skip
RESTORED = (
    "", "Concepts", "Given back by", "Own prompts", "Fall", "Templates", "Fall", "Others erased",
)  # fmt: skip
PANELS = (
    ("erased, held-out templates", "erased_accuracy", {"role": "erased", "domain": "all"}),
    ("kept styles, held-out templates", "retained_accuracy", {"domain": "styles"}),
    ("kept objects, held-out templates", "retained_accuracy", {"domain": "objects"}),
    ("separability", "separability", {}),
)
"""Title, metric, and which of its rows."""


def blocks(rows: Sequence[Row]) -> Iterator[Block]:
    """Tables by name, each with its columns and lines.

    Args:
        rows: Of every run of ``sepme bench capacity``.
    """
    for name, stage in STAGES.items():
        own = [row for row in rows if row["stage"] == stage]
        kept = [row for row in own if row["state"] == "all erased"]
        back = [row for row in own if row["state"] == "one restored"]
        found = list(groups(kept))
        yield (
            name,
            ("", "Concepts", *SEEN),
            [(*place, *seen(find)) for place, find in found if any(seen(find))],
        )
        yield (
            f"{name}, fits",
            ("", "Concepts", *FACTS),
            [(*place, *facts(find)) for place, find in found],
        )
        yield (
            f"{name}, restored",
            RESTORED,
            [
                (*place, *restored(find))
                for place, find in groups(back)
                if find("restored_accuracy")
            ],
        )
    yield "refused", ("", "Refused", "Stage", "State", "What it says"), refusals(rows)


def settings(rows: Sequence[Row]) -> tuple[Sequence[str], Lines]:
    """Columns and lines of settings that were tried, all of them on train templates.

    Args:
        rows: As `finest` gives them.
    """
    columns = ("", "Concepts", *SEEN)
    return columns, [(*place, *seen(find)) for place, find in groups(rows)]


def finest(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Rows of every run; of runs that give the same line, those of the one with most images."""
    lines: dict[tuple[str, int, str], dict[int, list[Row]]] = {}
    for run in runs:
        options = run["environment"]["options"]
        for found in run["rows"]:
            row = {**found, "settings": options.get("hyperparameters") or {}}
            line = lines.setdefault((label(row), row["size"], row["stage"]), {})
            line.setdefault(options["images"], []).append(row)
    best = {place: line[max(line)] for place, line in lines.items()}
    for place, rows in best.items():
        if sum(row["metric"] == "exact" for row in rows) > 1:
            raise SystemExit(f"two runs give the same lines: {place}. Keep one of them.")
    return [row for rows in best.values() for row in rows]


def label(row: Row) -> str:
    """A method, its settings where they are not the preset, and whether it knew what stays."""
    settings = "".join(f", `{key}={value}`" for key, value in sorted(row["settings"].items()))
    return f"`{row['method']}`{settings}{'' if row['retained'] == 'rest' else ', rest not listed'}"


def groups(rows: Sequence[Row]) -> Iterator[tuple[tuple[str, str], Own]]:
    """Label and size of each line, and what finds its rows."""
    for place in dict.fromkeys((label(row), row["size"]) for row in rows):
        own = [row for row in rows if (label(row), row["size"]) == place]
        yield (place[0], str(place[1])), finder(own)


def finder(rows: Sequence[Row]) -> Own:
    """What finds the first row of a metric; any template split for ``split=None``."""

    def find(metric: str, **more: Any) -> Row | None:
        split = more.pop("split", None)
        for row in rows:
            fits = row["metric"] == metric and (row["split"] == "literal") == (split == "literal")
            if fits and more.items() <= row.items():
                return row
        return None

    return find


def seen(find: Own) -> tuple[str, ...]:
    """Rates of one line of ``at once`` or ``arrivals``."""
    whole = {"role": "erased", "domain": "all"}
    return (
        rate(find("erased_accuracy", split="literal", **whole)),
        rate(find("erased_accuracy", **whole)),
        rate(find("original_accuracy", **whole)),
        *(
            show(find(metric, domain=domain))
            for domain in ("styles", "objects")
            for metric, show in (("retained_accuracy", rate), ("retained_drop", points))
        ),
    )


def facts(find: Own) -> tuple[str, ...]:
    """What the fits of one line say."""
    failed, exact, seconds = (find(metric) for metric in ("failed", "exact", "seconds"))
    apart = [find("separability", listed=listed) for listed in ("erased", "all")]
    return (
        f"{exact['value']} of {exact['n']}" if exact else "",
        *(f"{row['value']:.3f} ({row['lowest']:.3f})" if row else "" for row in apart),
        f"{seconds['value']:.{0 if seconds['value'] > 10 else 1}f}"
        if seconds and seconds["n"]
        else "",
        f"{failed['value']} of {failed['n']}" if failed else "",
    )


def restored(find: Own) -> tuple[str, ...]:
    """What one line says of concepts given back."""
    own = {"concepts": "restored", "domain": "all"}
    back = find("restored_accuracy", **own)
    return (
        back["restored_by"] if back else "",
        rate(find("restored_accuracy", split="literal", **own)),
        points(find("restored_drop", split="literal", **own)),
        rate(back),
        points(find("restored_drop", **own)),
        rate(find("erased_accuracy", concepts="erased", domain="all")),
    )


def refusals(rows: Sequence[Row]) -> Lines:
    """Every time a method refused, and why."""
    return [
        (label(row), f"{row['value']} of {row['n']}", row["stage"], row["state"], row["reason"])
        for row in rows
        if row["metric"] == "failed" and row["value"]
    ]


def rate(row: Row | None) -> str:
    """A rate in per cent with its interval and count."""
    if row is None:
        return ""
    return f"{100 * row['value']:.0f} ({100 * row['lo']:.0f}-{100 * row['hi']:.0f}, n {row['n']})"


def points(row: Row | None) -> str:
    """A fall in percentage points with its interval."""
    if row is None:
        return ""
    low, high = 100 * row["lo"], 100 * row["hi"]
    return f"{100 * row['value']:+.0f} ({low:+.0f} to {high:+.0f})"


def plot(rows: Sequence[Row], path: Path = PICTURE) -> None:
    """Draw every method's curves against the number of concepts erased at once.

    Args:
        rows: Of every run of ``sepme bench capacity``.
        path: Where to save the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    kept = [r for r in rows if (r["stage"], r["state"]) == ("at once", "all erased")]
    sizes = sorted({row["size"] for row in kept})
    for axes, (title, metric, more) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        found = [
            row
            for row in kept
            if row["metric"] == metric and row["split"] != "literal" and more.items() <= row.items()
        ]
        (draw_separability if metric == "separability" else draw_rates)(axes, found, kept)
        axes.set_xscale("log")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set(ylim=(-0.03, 1.03), xlabel="concepts erased at once", title=title)
        axes.grid(axis="y", alpha=0.3)
    figure.axes[1].legend(fontsize=9, loc="lower left")
    figure.axes[3].legend(fontsize=9)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def draw_rates(axes: Axes, rows: Sequence[Row], kept: Sequence[Row]) -> None:
    """One curve a method with 95 % intervals; the original's rate on the same images dashed."""
    names = list(dict.fromkeys(label(row) for row in kept))
    for place, name in enumerate(names):
        own = sorted((row for row in rows if label(row) == name), key=lambda row: row["size"])
        at = [row["size"] * 1.03 ** (place - (len(names) - 1) / 2) for row in own]
        values = [row["value"] for row in own]
        below = [row["value"] - row["lo"] for row in own]
        above = [row["hi"] - row["value"] for row in own]
        shown = name.replace("`", "")
        axes.errorbar(
            at, values, [below, above], color=f"C{place}", marker="o", capsize=2, label=shown
        )
    first: dict[int, float] = {}
    for row in kept:
        same = row["metric"] == "original_accuracy" and row["split"] != "literal"
        if same and rows and all(row[key] == rows[0][key] for key in ("role", "domain")):
            first.setdefault(row["size"], row["value"])
    axes.plot(sorted(first), [first[size] for size in sorted(first)], "k--", label="original")


def draw_separability(axes: Axes, rows: Sequence[Row], kept: Sequence[Row]) -> None:
    """Mean with its range from the lowest to the highest concept; one method stands for all."""
    names = {"erased": "beside the other erased", "all": "beside everything that stays too"}
    for listed, name in names.items():
        found = {row["size"]: row for row in rows if row["listed"] == listed}
        sizes = sorted(found)
        axes.plot(sizes, [found[size]["value"] for size in sizes], marker="o", label=name)
        ends = ([found[size][end] for size in sizes] for end in ("lowest", "highest"))
        axes.fill_between(sizes, *ends, alpha=0.2)
