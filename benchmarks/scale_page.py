"""What the page of times says of a thousand concepts, and of a policy for every request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Lines = list[Sequence[str]]
Block = tuple[str, Sequence[str], Lines]

BASELINES = {
    "uce loop": "row by row",
    "uce products": "concept by concept",
    "uce batched": "all rows",
    "one system": "one system, float32",
}
STORED = ("restore-one", "hook", "maps", "save", "load", "list")


def scale(rows: Sequence[Row]) -> Iterator[Block]:
    """Tables of ``docs/experiments/scale.json`` by name, each with its columns and lines.

    Args:
        rows: Of ``benchmarks/scale.py``.
    """
    places = dict.fromkeys((row["arch"], row["concepts"]) for row in rows if row["work"] == "solve")
    columns = ("", "concepts", "solve", "fold", "both", "of peak", *BASELINES.values(), "add one")
    yield "scale", columns, [solved(rows, *place) for place in places]
    kept = [place for place in places if one(rows, "maps", *place)]
    columns = ("", "concepts", *STORED, "MB on disk")
    yield "scale stored", columns, [stored(rows, *place) for place in kept]
    peaks = [f"{row['gflops']:.0f} in {row['precision']}" for row in rows if row["work"] == "peak"]
    spaces = [row for row in rows if row["work"].startswith("null space")]
    more = [(row["arch"], row["work"], seconds(row), against(row)) for row in spaces]
    more += [(row["arch"], "encode one concept", seconds(row), f"{row['prompts']} prompts")
             for row in rows if row["work"] == "encode"]  # fmt: skip
    more += [("any", "billions of operations a second at most", "", ", ".join(peaks))]
    yield "scale besides", ("", "", "seconds", ""), more


def growing(rows: Sequence[Row]) -> Iterator[Block]:
    """The table of ``docs/experiments/growing.json``, with its name and columns.

    Args:
        rows: Of ``benchmarks/growing.py``.
    """
    columns = ("names on the list", "one more", "prompts read", "nothing kept", "prompts read",
               "the whole list again", "MB kept")  # fmt: skip
    lines: Lines = []
    for late in (row for row in rows if row["work"] == "late"):
        place = (late["arch"], late["concepts"])
        anew, again = one(rows, "late, nothing kept", *place), one(rows, "refit", *place)
        read = [f"{row['prompts']:.0f}" if row else "" for row in (late, anew)]
        shown = (seconds(late), read[0], seconds(anew), read[1], seconds(again))
        lines.append((f"{place[1]:,}", *shown, f"{late['bytes'] / 1e6:.1f}"))
    yield "growing", columns, lines


def solved(rows: Sequence[Row], arch: str, count: int) -> Sequence[str]:
    """One line of the solution of all concepts."""
    works = ("solve", "fold", "solve+fold")
    own = [one(rows, work, arch, count) for work in works]
    peak = own[-1]["of_peak"] if own[-1] else 0
    ratios = [one(rows, "solve+fold", arch, count, against=name) for name in BASELINES]
    shown = [
        f"{row['ratio']:.{0 if row['ratio'] > 10 else 1}f} times" if row else "" for row in ratios
    ]
    added = one(rows, "add-one", arch, count)
    return (arch, f"{count:,}", *map(seconds, own), f"{peak:.0%}", *shown, seconds(added))


def stored(rows: Sequence[Row], arch: str, count: int) -> Sequence[str]:
    """One line of maps that are stored."""
    loaded = one(rows, "load", arch, count)
    size = f"{loaded['bytes'] / 1e6:.1f}" if loaded else ""
    return (arch, f"{count:,}", *(seconds(one(rows, w, arch, count)) for w in STORED), size)


def one(rows: Sequence[Row], work: str, arch: str, count: int, **more: str) -> Row | None:
    """The first row of a work, or None."""
    at = {"work": work, "arch": arch, "concepts": count, **more}
    return next((row for row in rows if at.items() <= row.items()), None)


def seconds(row: Row | None) -> str:
    """Seconds of a row, to two digits."""
    return f"{row['seconds']:.2g}" if row else ""


def against(row: Row) -> str:
    """How a null space compares with symbolic elimination."""
    return row.get("note") or f"{row['ratio']:.0f} times faster than elimination"


def policies(rows: Sequence[Row]) -> Iterator[Block]:
    """Tables of ``docs/experiments/policies.json`` by name, each with its columns and lines.

    Args:
        rows: Of ``benchmarks/policies.py``, of one or several runs.
    """
    columns = ("sets of", "steps", "latent", "slower by", "95 % interval", "pairs",
               "more operations", "at a later step", "difference from folded")  # fmt: skip
    runs = [row for row in rows if row["work"].startswith("run, ")]
    yield "policies", columns, [overhead(row) for row in runs]
    changes = [row for row in rows if row["work"].startswith("change")]
    columns = ("", "seconds", "a weight write", "times faster", "95 % interval")
    yield "policies changed", columns, [
        (row["work"].split(", ")[1], f"{row['seconds']:.2g}", f"{row['baseline']:.2g}",
         f"{row['ratio']:.0f}", f"{row['lo']:.0f} to {row['hi']:.0f}") for row in changes
    ]  # fmt: skip


def overhead(row: Row) -> Sequence[str]:
    """One line of a run under a policy."""
    low, high = row["overhead_lo"], row["overhead_hi"]
    return (
        row["work"].removeprefix("run, "), str(row["steps"]), str(row["latent"]),
        f"{row['overhead']:+.1%}", f"{low:+.1%} to {high:+.1%}", str(row["n"]),
        f"{row['flops']:+.2%}", f"{row['flops_later']:+.2%}", f"{row['difference']:.0e}",
    )  # fmt: skip
