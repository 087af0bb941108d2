"""Pairs of images of the same prompt and seed, checked and measured one by one."""

from __future__ import annotations

import statistics
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sepme.core.metric import Metric, Score, Takes
from sepme.errors import SepmeError, SpecError
from sepme.metrics.intervals import median_interval

Pixels = npt.NDArray[np.uint8]


def difference(a: Pixels, b: Pixels) -> npt.NDArray[Any]:
    """First minus second in float64.

    Args:
        a: Pixels, uint8, any shape.
        b: Pixels, uint8, same shape.

    Returns:
        -255 to 255.

    Raises:
        SepmeError: If they are not two uint8 arrays of one shape.
    """
    if a.dtype != np.uint8 or b.dtype != np.uint8 or a.shape != b.shape or not a.size:
        raise SepmeError(
            "two uint8 arrays of one shape are needed, "
            f"got {a.dtype} {a.shape} and {b.dtype} {b.shape}."
        )
    return a.astype(np.float64) - b.astype(np.float64)


class ImagePairs(Metric[Sequence[Pixels]]):
    """Median of a figure of each pair, with the interval of order statistics."""

    takes: ClassVar[Takes] = "images"

    @staticmethod
    @abstractmethod
    def _measure(a: Pixels, b: Pixels) -> float: ...

    def reset(self) -> None:
        self._values: list[float] = []

    def update(self, reference: Sequence[Pixels], live: Sequence[Pixels]) -> None:
        if len(reference) != len(live):
            raise SpecError(
                f"pairs are needed, got {len(reference)} and {len(live)} images. "
                "Draw the same prompts and seeds with both."
            )
        pairs = zip(reference, live, strict=True)
        self._values += [float(self._measure(a, b)) for a, b in pairs]

    def observed(self) -> list[float]:
        """The figure of each pair."""
        if not self._values:
            raise SpecError(f"{self.name} needs pairs of images, got none. Update it first.")
        return self._values

    def compute(self) -> Score:
        values = self.observed()
        return Score(statistics.median(values), len(values), median_interval(values))
