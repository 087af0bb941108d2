"""What benchmark rows say, in plain words, each with its count and interval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sepme.report.bench_attacks import attack_sentences
from sepme.report.bench_tables import ORIGINALS, partner, pooled
from sepme.report.sentences import of, percent, rate_words
from sepme.verify.evidence import Row

_TOLD = (
    ("erased_accuracy", "What was to be forgotten was still recognised in {now}"),
    ("restored_accuracy", "What was given back was recognised in {now}"),
    ("retained_accuracy", "What nobody named was recognised in {now}"),
)


def bench_sentences(rows: Sequence[Row]) -> list[str]:
    """The verdicts, the worst case of each claim.

    Args:
        rows: Rows of one or more benchmarks.

    Returns:
        Sentences; none for benchmarks that are not among the rows.
    """
    told = []
    methods = list(dict.fromkeys(row["method"] for row in rows))
    for method in methods:
        own = [row for row in rows if row["method"] == method]
        told += [f"{method}: {said}" if len(methods) > 1 else said for said in _of_one(own)]
    return [said.replace(" %", "\N{NO-BREAK SPACE}%") for said in told]


def _of_one(rows: Sequence[Row]) -> Iterator[str]:
    scenes = [row for row in rows if row["benchmark"] == "scenes"]
    for domain in dict.fromkeys(row["domain"] for row in scenes):
        yield from _scenes([row for row in scenes if row["domain"] == domain], domain)
    yield from _ladder([row for row in rows if row["benchmark"] == "ladder"])
    yield from _separability(
        [row for row in rows if row["metric"] == "separability" and "concept_i" in row]
    )
    yield from attack_sentences([row for row in rows if row["benchmark"] == "attacks"])


def _scenes(rows: Sequence[Row], domain: str) -> Iterator[str]:
    for metric, words in _TOLD:
        found = [r for r in pooled(rows) if r["metric"] == metric and r["split"] == "heldout"]
        if not found:
            continue
        sign = 1 if metric == "erased_accuracy" else -1
        row = max(found, key=lambda row: sign * row["value"])
        before = partner(rows, row, ORIGINALS[metric])
        told = f"{words.format(now=rate_words(row))}, on prompts never used in training"
        told += f" ({domain}, {_where(row, found)})."
        if before:
            told += f" In the original's images of the same prompts and seeds: {of(before)}."
        yield told
    yield from _exactness(rows, domain)


def _exactness(rows: Sequence[Row], domain: str) -> Iterator[str]:
    exact = [row for row in pooled(rows) if row["metric"] == "restore_error"]
    if exact:
        yield (
            f"Wherever exactness is claimed, pixels differ from the original's by at most "
            f"{max(row['value'] for row in exact)} of 255 ({domain}, "
            f"{sum(row['n'] for row in exact)} pairs of images)."
        )
    others = [row for row in pooled(rows) if row["metric"] == "restore_error_unlisted"]
    if others:
        yield (
            "Where an active shift does not list the concept, nothing is claimed: there pixels "
            f"differ by up to {max(row['value'] for row in others)} of 255, with up to "
            f"{percent(max(row['leak'] for row in others))} of the keys and values moved "
            f"({domain}, {sum(row['n'] for row in others)} pairs)."
        )


def _ladder(rows: Sequence[Row]) -> Iterator[str]:
    found = [row for row in rows if row["metric"] == "erased_accuracy"]
    if found:
        row = max(found, key=lambda row: float(row["value"]))
        yield (
            f"Of all ways to ask for an erased concept, “{row['rung']}” brought one back most "
            f"often: {row['concepts']} in {rate_words(row)}."
        )


def _separability(rows: Sequence[Row]) -> Iterator[str]:
    others = [row for row in rows if row["concept_i"] != row["concept_j"]]
    if others:
        row = max(others, key=lambda row: float(row["value"]))
        yield (
            f"The shift of {row['concept_i']} moves {row['concept_j']} most: "
            f"{float(row['value']):.2g} times as far as its own concept, the largest of "
            f"{len(others)} pairs."
        )


def _where(row: Row, found: Iterable[Row]) -> str:
    several = len({other["scene"] for other in found})
    return f"scene {row['scene']}" + (f", the worst of {several}" if several > 1 else "")
