"""CLIP score: how well images agree with their prompts in CLIP's eyes. Needs weights."""

from __future__ import annotations

import statistics
from typing import ClassVar

import torch
from torch import Tensor

from sepme.core.metric import Score
from sepme.errors import SpecError
from sepme.metrics._features import FeatureSets, feature_sets
from sepme.metrics.intervals import median_interval


def clip_score(texts: Tensor, images: Tensor) -> Score:
    """Median over images of ``100 max(cos, 0)`` between an image and its prompt.

    Hessel et al., 2021, scale by 2.5 instead of 100; 100 is what public tables of erasure use,
    which report the mean. A median has an honest interval.

    Args:
        texts: Features of the prompts, ``(n, d)``.
        images: Features of the images, ``(n, d)``, in the same order.

    Returns:
        The score (0 to 100), the images, and the interval of order statistics.

    Raises:
        SpecError: If they are not two matrices of one width with as many rows, at least two, or a
            number is not finite.

    Example:
        >>> round(clip_score(torch.eye(2), torch.ones(2, 2)).value, 2)
        70.71
    """
    one, two = feature_sets(texts, images)
    if len(one) != len(two):
        raise SpecError(f"every image needs its prompt, got {len(one)} and {len(two)} rows.")
    values = (100 * torch.cosine_similarity(one, two).clamp(min=0)).tolist()
    return Score(statistics.median(values), len(values), median_interval(values))


class ClipScore(FeatureSets):
    """`clip_score` of prompts (the reference) and the live model's images, both seen by CLIP."""

    name, bounds = "clip_score", (0.0, 100.0)
    higher_is_better = True
    needs: ClassVar[str] = "CLIP"

    def update(self, reference: Tensor, live: Tensor) -> None:
        """Observe features of prompts and of their images, ``(n, d)`` each."""
        if len(reference) != len(live):
            raise SpecError(
                f"every image needs its prompt, got {len(reference)} prompts and {len(live)} "
                "images. Encode the same list."
            )
        super().update(reference, live)

    def compute(self) -> Score:
        """The score of everything observed."""
        return clip_score(*self.observed())
