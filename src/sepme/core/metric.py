"""What a metric is, and what it says in the end."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

from sepme.errors import SpecError

Batch = TypeVar("Batch")
Takes = Literal["labels", "grouped labels", "features", "images", "detections"]


@dataclass(frozen=True, slots=True)
class Score:
    """One figure.

    Attributes:
        value: The figure; may be infinite, never "not a number".
        n: What it rests on: images, or pairs of images.
        ci95: Its 95 % interval; None where there is no honest one.

    Raises:
        SpecError: If there is nothing behind it, or a number is "not a number".

    Example:
        >>> Score(0.5, 2, (0.1, 0.9)).n
        2
    """

    value: float
    n: int
    ci95: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.n < 1:
            raise SpecError(f"a score needs at least one image, got n = {self.n}. Measure some.")
        numbers = (self.value, *(self.ci95 or ()))
        if any(math.isnan(number) for number in numbers):
            raise SpecError(f"a score needs numbers, got {numbers}. Look for nan in the inputs.")
        if self.ci95 is not None and self.ci95[0] > self.ci95[1]:
            raise SpecError(f"an interval goes from low to high, got {self.ci95}. Swap the ends.")


class Metric(ABC, Generic[Batch]):
    """Takes observations batch by batch and turns them into one figure.

    The protocol is that of torchmetrics. The figure depends on what was observed only: not on how
    it was cut into batches, and not on the order. A batch that is refused leaves no trace.

    Attributes:
        name: Registry name.
        takes: What a batch is. ``"labels"``: a sequence of texts; ``"grouped labels"``: the same
            by group; ``"features"``: an ``(n, d)`` tensor; ``"images"``: a sequence of uint8
            arrays; ``"detections"``: for each image, labels with confidences.
        higher_is_better: Whether a larger figure is the better one.
        bounds: The smallest and the largest figure there can be.
        needs: The network whose weights it needs; "" if any extractor will do, or none.
    """

    name: ClassVar[str]
    takes: ClassVar[Takes]
    higher_is_better: ClassVar[bool]
    bounds: ClassVar[tuple[float, float]]
    needs: ClassVar[str] = ""

    def __init__(self) -> None:
        """Start with nothing observed."""
        self.reset()

    @abstractmethod
    def reset(self) -> None:
        """Forget everything observed."""

    @abstractmethod
    def update(self, reference: Batch, live: Batch) -> None:
        """Observe a batch.

        Args:
            reference: What should be there: expected labels, or the original model's output.
            live: What is there: the labels a detector gave, or the live model's output.

        Raises:
            SepmeError: If the two do not fit together.
        """

    @abstractmethod
    def compute(self) -> Score:
        """The figure of everything observed since the last reset.

        Returns:
            Value, count and interval.

        Raises:
            SpecError: If too little was observed for a figure.
        """
