"""Feature rows of two sets of images, kept and checked."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from sepme.core.metric import Metric, Takes
from sepme.errors import SpecError


def feature_sets(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two sets of features in float64 on the CPU.

    Args:
        a: Features, ``(n, d)``.
        b: Features, ``(m, d)``.

    Returns:
        Both.

    Raises:
        SpecError: If they are not two matrices of one width with at least two rows each, or a
            number is not finite.
    """
    first, second = _rows(a, a.shape[1:]), _rows(b, a.shape[1:])
    if min(len(a), len(b)) < 2:
        raise SpecError(
            f"each set needs at least 2 images, got {len(a)} and {len(b)}. Generate more."
        )
    return first, second


class FeatureSets(Metric[Tensor]):
    """Keeps every feature row it sees; what to make of them is a subclass's affair."""

    takes: ClassVar[Takes] = "features"
    higher_is_better = False

    def reset(self) -> None:
        self._reference: list[Tensor] = []
        self._live: list[Tensor] = []

    def update(self, reference: Tensor, live: Tensor) -> None:
        width = (self._reference or [reference])[0].shape[1:]
        first, second = _rows(reference, width), _rows(live, width)
        self._reference.append(first)
        self._live.append(second)

    def observed(self) -> tuple[Tensor, Tensor]:
        """Both sets, each in one piece."""
        if not self._reference:
            raise SpecError(f"{self.name} needs features of two sets, got none. Update it first.")
        return torch.cat(self._reference), torch.cat(self._live)


def _rows(features: Tensor, width: torch.Size) -> Tensor:
    """A copy in float64 on the CPU of what is a matrix of finite numbers, ``width`` wide."""
    if features.ndim != 2 or features.shape[1:] != width or not features.shape[1]:
        raise SpecError(
            f"(n, d) features with d = {[*width]} are needed, got {tuple(features.shape)}. "
            "Use one extractor for all images."
        )
    rows = features.detach().to("cpu", torch.float64, copy=True)
    if not torch.isfinite(rows).all():
        raise SpecError("the features hold numbers that are not finite. Look at the extractor.")
    return rows
