"""Every figure of one method and task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sepme.bench.gallery import Shot
from sepme.bench.takes import Failure, Group, Take, Task
from sepme.metrics import feature_distance, psnr
from sepme.verify.evidence import Row
from sepme.verify.rows import OTHER_HEAD

if TYPE_CHECKING:
    from sepme.bench.methods_bench import Methods

_DOMAINS = {"style": "styles", "object": "objects"}
_RATES: tuple[tuple[Group, str, bool, str], ...] = (
    ("literal", "erased_accuracy", True, "erased"),
    ("templates", "erased_accuracy", True, "erased"),
    ("templates", "cross_domain_accuracy", False, "erased"),
    ("retained", "retained_accuracy", True, "same domain"),
    ("retained", "retained_accuracy", False, "other domain"),
)
"""Group of prompts, metric, whether it is of the erased domain, and role."""


def headline() -> frozenset[str]:
    """Metrics that the table of methods shows."""
    rates = ("original_accuracy", "erased_accuracy", "retained_accuracy", "cross_domain_accuracy")
    costs = ("seconds", "peak_memory_mb", "bytes")
    return frozenset({*rates, "drift_psnr", "restore_error", *costs, "fit_failed"})


@dataclass(frozen=True, slots=True)
class Compared:
    """What some fits of one method gave, as rows.

    Attributes:
        spec: The benchmark.
        method: Registry name of the method.
        task: What was erased; for ``each``, all that was erased one at a time.
        kind: ``"one"``, ``"each"`` or ``"joint"``.
        outcomes: A take or a failure for each fit.
    """

    spec: Methods
    method: str
    task: Task
    kind: str
    outcomes: Sequence[Take | Failure] = field(repr=False)

    def rows(self) -> Iterator[Row]:
        """Every figure; failed fits come first."""
        takes = [outcome for outcome in self.outcomes if isinstance(outcome, Take)]
        failed = [outcome for outcome in self.outcomes if isinstance(outcome, Failure)]
        for failure in (*failed, *(failure for take in takes for failure in take.failures)):
            yield self.spec.row(
                "fit_failed", 1, 1, **self._columns("none", [failure.fit]), stage=failure.stage,
                reason=failure.reason,
            )  # fmt: skip
        if takes:
            yield from self._seen(takes)
            yield from self._drift(takes)
            yield from self._restored(takes)
            yield from self._costs(takes)

    def _seen(self, takes: Sequence[Take]) -> Iterator[Row]:
        """Rates of what was asked for, the original's and the erased model's."""
        heads = {True: self.task.head, False: OTHER_HEAD[self.task.head]}
        for group, metric, own, role in _RATES:
            before, after = (_of_fits(takes, group, side, heads[own]) for side in (0, 1))
            if all(after.values()):
                columns = self._columns(self._split(group), _seeds(takes)) | {"role": role}
                yield self._original(metric, before, columns)
                yield self.spec.rate_of_fits(metric, after, **columns)

    def _original(
        self, metric: str, before: Mapping[int, Sequence[bool]], columns: Mapping[str, Any]
    ) -> Row:
        cross = metric == "cross_domain_accuracy"
        name = "original_cross_domain_accuracy" if cross else "original_accuracy"
        return self.spec.rate(name, [hit for hits in before.values() for hit in hits], **columns)

    def _drift(self, takes: Sequence[Take]) -> Iterator[Row]:
        columns = self._columns(self._split("retained"), _seeds(takes)) | {"role": "retained"}
        for metric, measure in (("drift_psnr", _psnr), ("drift_features", _apart)):
            values: dict[int, list[float]] = {}
            for take in takes:
                pairs = zip(*take.looks["retained"], strict=True)
                values.setdefault(take.fit, []).extend(measure(*pair) for pair in pairs)
            yield self.spec.median_of_fits(metric, values, **columns)

    def _restored(self, takes: Sequence[Take]) -> Iterator[Row]:
        for stage in ("one restored", "all restored"):
            found = [back for take in takes for back in take.restored if back.stage == stage]
            if found:
                yield self.spec.row(
                    "restore_error",
                    max(back.error for back in found),
                    sum(back.images for back in found),
                    **self._columns("literal", _seeds(takes)),
                    stage=stage,
                    restored_by=found[0].how,
                    claimed=all(back.claimed for back in found),
                )

    def _costs(self, takes: Sequence[Take]) -> Iterator[Row]:
        columns = self._columns("none", _seeds(takes)) | {"stage": "fit", "measured": "first fit"}
        yield self.spec.median("seconds", [take.cost.seconds for take in takes], **columns)
        known = [take.cost for take in takes if take.cost.peak_memory_mb is not None]
        raised = [cost for cost in known if cost.raised]
        if peaks := [cost.peak_memory_mb or 0.0 for cost in raised or known]:
            told = max(peaks) if raised else min(peaks)
            yield self.spec.row(
                "peak_memory_mb", told, len(peaks), **columns, upper_bound=not raised
            )
        yield self.spec.median("bytes", [take.nbytes for take in takes], **columns)
        if steps := [take.steps for take in takes if take.steps]:
            yield self.spec.median("steps", steps, **columns)

    def _split(self, group: Group) -> str:
        return "literal" if group == "literal" else self.spec.templates

    def _columns(self, split: str, seeds: Sequence[int]) -> dict[str, Any]:
        return {
            "method": self.method,
            "concepts": self.task.name,
            "split": split,
            "seeds": list(seeds),
            "task": self.kind,
            "domain": _DOMAINS[self.task.head],
        }


def _of_fits(takes: Sequence[Take], group: Group, side: int, head: str) -> dict[int, list[bool]]:
    """Seed of the fits to whether each of their images shows what was asked for."""
    found: dict[int, list[bool]] = {}
    for take in takes:
        shots = [shot for shot in take.looks[group][side] if shot.case.label(head) is not None]
        found.setdefault(take.fit, []).extend(shot.hit(head) for shot in shots)
    return found


def _seeds(takes: Sequence[Take]) -> list[int]:
    return list(dict.fromkeys(take.fit for take in takes))


def _psnr(before: Shot, after: Shot) -> float:
    return psnr(before.pixels, after.pixels)


def _apart(before: Shot, after: Shot) -> float:
    return float(feature_distance(before.features[None], after.features[None]))
