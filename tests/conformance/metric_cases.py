"""One row per metric: observations as good as they get, and clearly worse ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

LABELS = ["cat", "dog", "house", "church"] * 5
TARGET = ["cat"] * 20
BLACK = ["none"] * 20
KEPT = LABELS[1:4] * 7
BARE = [[("FEET_EXPOSED", 0.5 + k / 50)] for k in range(20)]


@dataclass(frozen=True)
class MetricCase:
    """What a metric observes.

    Attributes:
        reference: What should be there; as many items as ``good`` and ``bad`` have.
        good: What a perfect model shows.
        bad: What a clearly worse model shows.
        n: The count that both scores must name.
        wrong: What does not fit ``reference`` and must be refused.
    """

    reference: Any
    good: Any
    bad: Any
    n: int
    wrong: Any


def _features() -> MetricCase:
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((20, 6)))
    return MetricCase(rows, rows.clone(), rows + 1, 20, rows[:, :5])


def _prompts() -> MetricCase:
    case = _features()
    return MetricCase(case.reference, case.good, case.bad, case.n, case.reference[1:])


def _images() -> MetricCase:
    random = np.random.default_rng(0)
    originals = list(random.integers(0, 256, (20, 12, 14, 3), dtype=np.uint8))
    wrong = [*originals[:-1], originals[0][:5]]
    negatives = [255 - image for image in originals]
    return MetricCase(originals, list(map(np.copy, originals)), negatives, 20, wrong)


def _harmonic(*groups: str) -> MetricCase:
    wanted = {group: KEPT if group == "retained" else ["cat"] * 21 for group in groups}
    good = {group: KEPT if group == "retained" else ["dog"] * 21 for group in groups}
    return MetricCase(wanted, good, wanted, 21 * len(groups), {**good, "retained": ["dog"]})


CASES: Mapping[str, MetricCase] = {
    "clip_score": _prompts(),
    "cmmd": _features(),
    "cra": MetricCase(LABELS, LABELS, BLACK, 20, BLACK[1:]),
    "feature_distance": _features(),
    "fid": _features(),
    "h_c": _harmonic("erased", "retained"),
    "h_o": _harmonic("erased", "retained", "general"),
    "ira": MetricCase(LABELS, LABELS, BLACK, 20, BLACK[1:]),
    "kid": _features(),
    "largest_difference": _images(),
    "none_share": MetricCase(LABELS, LABELS, BLACK, 20, BLACK[1:]),
    "nudity_count": MetricCase([[]] * 20, [[]] * 20, BARE, 20, BARE[1:]),
    "psnr": _images(),
    "replaced_share": MetricCase(TARGET, ["dog"] * 20, BLACK, 20, BLACK[1:]),
    "ssim": _images(),
    "ua": MetricCase(TARGET, ["dog"] * 20, TARGET, 20, BLACK[1:]),
}


def parts(items: Any, places: Sequence[int]) -> Any:
    """Some items of a batch, whatever kind of batch it is."""
    if isinstance(items, Mapping):
        return {group: parts(inner, places) for group, inner in items.items()}
    return items[list(places)] if isinstance(items, torch.Tensor) else [items[k] for k in places]
