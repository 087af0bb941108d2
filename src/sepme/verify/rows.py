"""From images to tidy rows."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from sepme.metrics import (
    feature_distance,
    largest_difference,
    median_interval,
    paired_drop,
    psnr,
    wilson,
)
from sepme.verify.cases import Batch, Block, Case
from sepme.verify.evidence import Row
from sepme.verify.studio import Studio

OTHER_HEAD = {"style": "object", "object": "style"}


class Figures:
    """Measures blocks and keeps the rows.

    Args:
        studio: Holds the images of the states ``"original"`` and ``"live"``.
        method: Registry names of the methods at work, joined by "+".
        seed: Seed of the run.
    """

    def __init__(self, studio: Studio, method: str, seed: int) -> None:
        """Start with no row."""
        self._studio, self._method, self._seed = studio, method, seed
        self.rows: list[Row] = []

    def measure(self, block: Block) -> None:
        """Add every figure of a block."""
        if block.role == "retained":
            for head, pool in (("style", "styles"), ("object", "objects")):
                self._retained(block, head, pool)
        elif block.head is not None:
            self._seen(block, block.head, "original_accuracy", f"{block.role}_accuracy")
            if block.role == "restored":
                self._fallen("restored_drop", block, block.head, block.name)
            if block.role == "erased":
                other = OTHER_HEAD[block.head]
                metrics = ("original_cross_domain_accuracy", "cross_domain_accuracy")
                self._seen(block, other, *metrics)
        self._drift(block)

    def _seen(self, block: Block, head: str, original: str, live: str) -> None:
        for state, cases, metric in (
            ("original", block.pairs, original),
            ("live", block.cases, live),
        ):
            hits = self._hits(state, cases, head)
            if hits:
                self._rate(metric, block.name, block.split, hits)

    def _retained(self, block: Block, head: str, pool: str) -> None:
        if before := self._hits("original", block.cases, head):
            self._rate("original_accuracy", pool, block.split, before)
            self._rate(
                "retained_accuracy", pool, block.split, self._hits("live", block.cases, head)
            )
            self._fallen("retained_drop", block, head, pool)

    def _fallen(self, metric: str, block: Block, head: str, concepts: str) -> None:
        before = self._hits("original", block.pairs, head)
        drop, low, high = paired_drop(before, self._hits("live", block.pairs, head))
        self._add(metric, concepts, block.split, drop, len(before), (low, high))

    def _drift(self, block: Block) -> None:
        if not block.pairs:
            return
        differences = self.pixel_differences(block.pairs)
        ratios = [
            psnr(self._studio.pixels("original", case), self._studio.pixels("live", case))
            for case in block.pairs
        ]
        self._median("drift_psnr", block, ratios)
        before = self._studio.features("original", block.pairs)
        after = self._studio.features("live", block.pairs)
        if before is not None and after is not None:
            self._median("drift_features", block, feature_distance(before, after).tolist())
        if block.split == "literal" and block.role in ("restored", "known"):
            self._add("restore_error", block.name, "literal", max(differences), len(differences))

    def pixel_differences(self, cases: Batch) -> list[int]:
        """Largest pixel difference of each case between original and live."""
        return [
            largest_difference(
                self._studio.pixels("original", case), self._studio.pixels("live", case)
            )
            for case in cases
        ]

    def _hits(self, state: str, cases: Sequence[Case], head: str) -> list[bool]:
        return [
            self._studio.label(state, case, head) == case.label(head)
            for case in cases
            if case.label(head) is not None
        ]

    def _rate(self, metric: str, concepts: str, split: str, hits: Sequence[bool]) -> None:
        interval = wilson(sum(hits), len(hits))
        self._add(metric, concepts, split, sum(hits) / len(hits), len(hits), interval)

    def _median(self, metric: str, block: Block, values: Sequence[float]) -> None:
        interval = median_interval(values)
        middle = statistics.median(values)
        self._add(metric, block.name, block.split, middle, len(values), interval)

    def _add(
        self,
        metric: str,
        concepts: str,
        split: str,
        value: float,
        n: int,
        interval: tuple[float, float] | None = None,
    ) -> None:
        low, high = interval or (None, None)
        self.rows.append(
            {
                "benchmark": "verify",
                "method": self._method,
                "concepts": concepts,
                "split": split,
                "metric": metric,
                "value": value,
                "n": n,
                "lo": low,
                "hi": high,
                "seeds": [self._seed],
            }
        )
