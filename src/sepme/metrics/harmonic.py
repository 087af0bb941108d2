"""Harmonic means of several rates: one bad rate makes a bad mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sepme.core.metric import Metric, Score, Takes
from sepme.errors import SpecError, did_you_mean
from sepme.metrics._labels import check_labels

Groups = Mapping[str, Sequence[str]]


def harmonic_mean(rates: Sequence[float]) -> float:
    """Harmonic mean of rates, its limit where one is zero.

    Args:
        rates: Fractions, 0 to 1.

    Returns:
        ``k / (1/r_1 + ... + 1/r_k)``; 0 if any rate is 0.

    Raises:
        SpecError: If there are none, or one is not a fraction.

    Example:
        >>> harmonic_mean([1.0, 0.5]), harmonic_mean([1.0, 0.0])
        (0.6666666666666666, 0.0)
    """
    if not rates or not all(0 <= rate <= 1 for rate in rates):
        raise SpecError(f"fractions from 0 to 1 are needed, got {list(rates)}. Pass rates.")
    return float(_means(np.array(rates, np.float64)))


def harmonic_score(
    counts: Sequence[tuple[int, int]], *, draws: int = 20_000, seed: int = 0
) -> Score:
    """Harmonic mean of independent rates, with an interval that stays honest at 0 and 1.

    A parametric bootstrap: every rate is drawn from ``Beta(k + 1/2, n - k + 1/2)`` (Jeffreys), and
    the interval is the middle 95 % of the means. The delta method and the plain bootstrap would
    shrink to a point where all rates are 1. Images of one fit are not independent: put several
    fits through `cluster_bootstrap`.

    Args:
        counts: Successes and trials of each rate.
        draws: Bootstrap draws.
        seed: Seed of the draws; the same seed gives the same interval.

    Returns:
        The mean (fraction, 0 to 1), all trials, and the interval.

    Raises:
        SpecError: If there are no rates, one has no trials, or a count is out of range.

    Example:
        >>> score = harmonic_score([(48, 48), (48, 48)])
        >>> score.value, score.n, 0.9 < score.ci95[0] < 1
        (1.0, 96, True)
    """
    if not counts or any(n < 1 or not 0 <= k <= n for k, n in counts):
        raise SpecError(
            f"every rate needs 0 <= successes <= trials and a trial, got {list(counts)}. "
            "Generate images for each group."
        )
    hits, trials = np.array(counts, np.int64).T
    value = harmonic_mean([k / n for k, n in counts])
    random = np.random.default_rng(seed)
    drawn = random.beta(hits + 0.5, trials - hits + 0.5, size=(draws, len(counts)))
    low, high = np.quantile(_means(drawn), (0.025, 0.975)).tolist()
    return Score(value, int(trials.sum()), (min(low, value), max(high, value)))


class _Harmonic(Metric[Groups]):
    """Harmonic mean of one rate per group of prompts; some groups count misses."""

    takes: ClassVar[Takes] = "grouped labels"
    higher_is_better = True
    bounds = (0.0, 1.0)
    _misses: ClassVar[Mapping[str, bool]]

    def reset(self) -> None:
        self._counts = dict.fromkeys(self._misses, (0, 0))

    def update(self, reference: Groups, live: Groups) -> None:
        for group in sorted({*reference, *live} - self._misses.keys()):
            raise SpecError(
                f"{self.name} has no group {group!r}. {did_you_mean(group, self._misses)}"
            )
        added = {g: self._added(g, reference.get(g, ()), live.get(g, ())) for g in self._misses}
        for group, (hits, n) in added.items():
            before = self._counts[group]
            self._counts[group] = before[0] + hits, before[1] + n

    def _added(self, group: str, expected: Sequence[str], seen: Sequence[str]) -> tuple[int, int]:
        check_labels(expected, seen)
        hits = sum(e == s for e, s in zip(expected, seen, strict=True))
        return len(seen) - hits if self._misses[group] else hits, len(seen)

    def compute(self) -> Score:
        if missing := [group for group, (_, n) in self._counts.items() if not n]:
            raise SpecError(
                f"{self.name} needs images of every group, got none of {', '.join(missing)}. "
                f"Its groups are {', '.join(self._misses)}."
            )
        return harmonic_score(list(self._counts.values()))


class HarmonicCelebrities(_Harmonic):
    """H_c of MACE: erased concepts are not seen, retained ones are.

    Groups: ``erased`` and ``retained``. ``H_c = 2 / ((1 - Acc_e)^-1 + Acc_s^-1)``.
    """

    name = "h_c"
    _misses: ClassVar[Mapping[str, bool]] = {"erased": True, "retained": False}


class HarmonicObjects(_Harmonic):
    """H_o of MACE: erased concepts are not seen, not by synonym either; retained ones are.

    Groups: ``erased``, ``retained`` and ``general`` (the erased concept in other words).
    ``H_o = 3 / ((1 - Acc_e)^-1 + Acc_s^-1 + (1 - Acc_g)^-1)``.
    """

    name = "h_o"
    _misses: ClassVar[Mapping[str, bool]] = {"erased": True, "retained": False, "general": True}


def _means(rates: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    with np.errstate(divide="ignore"):  # 1 / 0 is infinite, and the mean 0
        means: npt.NDArray[Any] = rates.shape[-1] / np.sum(1 / rates, axis=-1)
    return means
