"""What every benchmark has: a method, a seed, checked options, and rows of one form."""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from sepme import demo
from sepme.bench.cells import Cell
from sepme.bench.store import Store
from sepme.core.concept import Concept
from sepme.core.method import Method
from sepme.errors import SpecError, did_you_mean
from sepme.methods import METHODS
from sepme.metrics import cluster_bootstrap, median_interval, wilson
from sepme.pipeline import ErasedPipeline
from sepme.report import Pictures
from sepme.verify.cases import BATCH
from sepme.verify.evidence import Row
from sepme.verify.rows import OTHER_HEAD

Interval = tuple[float, float]
Columns = dict[str, Any]
"""Columns of a row besides metric, value, n and interval."""


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What a benchmark found.

    Attributes:
        rows: One figure each.
        pictures: For people: caption to images of one prompt and seed, each under a name.
    """

    rows: tuple[Row, ...]
    pictures: Pictures = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Benchmark(ABC):
    """A frozen bag of options with one verb, ``run``.

    Args:
        method: Registry name of the method.
        hyperparameters: Of the method; what is not named is the model's preset, else the paper's.
        seed: Seed of fits and images.
        steps: Denoising steps of an image.

    Attributes:
        name: Registry name.
        headline: Metrics that a short overview shows.

    Raises:
        SpecError: If a value is out of range.
    """

    name: ClassVar[str]
    headline: ClassVar[frozenset[str]]
    method: str = "sepme"
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    steps: int = 25

    def __post_init__(self) -> None:
        """Check the values."""
        self._at_least_one("steps")
        self.new_method()

    @abstractmethod
    def run(self, model: ErasedPipeline, store: Store, *, progress: bool = True) -> Findings:
        """Measure everything.

        Args:
            model: A model with nothing erased.
            store: Where images and fits are kept between runs.
            progress: Whether to show progress on stderr.

        Returns:
            The rows, and what people may want to look at.
        """

    def cells(self) -> tuple[Cell, ...]:
        """Parts that can be made on their own, whose results the run then finds in the store."""
        return ()

    def new_method(self) -> Method:
        """The method, with what is not chosen to come from the model's preset.

        Raises:
            SpecError: If the method has no such hyper-parameter, or a value is out of range.
        """
        return built(self.method, self.hyperparameters)

    def row(
        self,
        metric: str,
        value: float,
        n: int,
        interval: Interval | None = None,
        *,
        concepts: str,
        split: str,
        **more: Any,  # noqa: ANN401 (the benchmark's own columns)
    ) -> Row:
        """One figure.

        Args:
            metric: What it is.
            value: The figure.
            n: What it rests on.
            interval: Its 95 % interval, if there is an honest one.
            concepts: Whose figure it is.
            split: Which prompts.
            more: The benchmark's own columns; ``seeds`` replaces the one seed.
        """
        low, high = interval or (None, None)
        return {
            "benchmark": self.name,
            "method": self.method,
            "concepts": concepts,
            "split": split,
            "metric": metric,
            "value": value,
            "n": n,
            "lo": low,
            "hi": high,
            "seeds": [self.seed],
            **more,
        }

    def rate(self, metric: str, hits: Sequence[bool], **columns: Any) -> Row:  # noqa: ANN401
        """A share of images with Wilson's interval.

        Args:
            metric: What it is.
            hits: Whether each image counts.
            columns: As `row`.
        """
        n = len(hits)
        return self.row(metric, sum(hits) / n, n, wilson(sum(hits), n), **columns)

    def median(self, metric: str, values: Sequence[float], **columns: Any) -> Row:  # noqa: ANN401
        """A median with the interval of order statistics.

        Args:
            metric: What it is.
            values: One figure each.
            columns: As `row`.
        """
        middle = statistics.median(values)
        return self.row(metric, middle, len(values), median_interval(values), **columns)

    def rate_of_fits(
        self,
        metric: str,
        hits: Mapping[int, Sequence[bool]],
        **columns: Any,  # noqa: ANN401
    ) -> Row:
        """A share of images of several fits with the hull of two intervals.

        `cluster_bootstrap` knows that images of one fit are alike, but collapses where few fits
        agree; Wilson's, which stands beside the hull, does not. With one fit it is the only one.

        Args:
            metric: What it is.
            hits: Fit to whether each of its images counts.
            columns: As `row`.
        """
        row = self.rate(metric, [hit for own in hits.values() for hit in own], **columns)
        if len(hits) < 2:
            return row
        low, high = cluster_bootstrap(hits)
        hull = {"lo": min(low, row["lo"]), "hi": max(high, row["hi"])}
        return {**row, **hull, "wilson_lo": row["lo"], "wilson_hi": row["hi"]}

    def median_of_fits(
        self,
        metric: str,
        values: Mapping[int, Sequence[float]],
        **columns: Any,  # noqa: ANN401
    ) -> Row:
        """A median over several fits, whose interval needs finite figures; else as `median`.

        Args:
            metric: What it is.
            values: Fit to one figure each.
            columns: As `row`.
        """
        everything = [value for own in values.values() for value in own]
        row = self.median(metric, everything, **columns)
        if len(values) < 2 or not all(map(math.isfinite, everything)):
            return row
        low, high = cluster_bootstrap(values, np.median)
        return {**row, "lo": low, "hi": high}

    def _at_least_one(self, *options: str) -> None:
        values = [getattr(self, option) for option in options]
        if any(value < 1 for value in values):
            raise SpecError(
                f"{' and '.join(options)} must be at least 1, got {', '.join(map(str, values))}."
            )


def registered() -> tuple[str, ...]:
    """Every method's registry name."""
    return tuple(METHODS)


def built(name: str, hyperparameters: Mapping[str, Any]) -> Method:
    """A method, with what is not chosen to come from the model's preset.

    Args:
        name: Its registry name.
        hyperparameters: What is chosen.

    Raises:
        SpecError: If the method has no such hyper-parameter, or a value is out of range.

    Example:
        >>> built("uce", {"lamb": 0.1}).lamb
        0.1
    """
    kind = METHODS[name]
    kind().resolve(hyperparameters)  # names those it does not have
    return kind(**hyperparameters)


def in_batches(images: int) -> int:
    """The images of as many whole batches as hold at least so many.

    Args:
        images: How many are needed.

    Example:
        >>> in_batches(1), in_batches(16), in_batches(17)
        (8, 16, 24)
    """
    return BATCH * -(-images // BATCH)


def taught(names: Sequence[str]) -> tuple[Concept, ...]:
    """Styles and objects of the demo model.

    Args:
        names: Their names.

    Returns:
        The concepts, in that order.

    Raises:
        SpecError: If there is none, one comes twice, or the model was not taught it.

    Example:
        >>> [concept.kind for concept in taught(["ink", "cat"])]
        ['style', 'object']
    """
    known = {concept.name: concept for concept in demo.concepts() if concept.kind in OTHER_HEAD}
    for name in names:
        if name not in known:
            raise SpecError(f"the demo model knows no {name!r}. {did_you_mean(name, known)}")
    if not names or len(set(names)) < len(names):
        raise SpecError(f"distinct concepts are needed, got {list(names)}. Name each once.")
    return tuple(known[name] for name in names)
