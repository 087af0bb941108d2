"""95 % intervals that stay honest at small counts and at rates of 0 and 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from sepme.errors import SepmeError, SpecError

_Z = NormalDist().inv_cdf(0.975)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate.

    Unlike the textbook ``p +- 1.96 s`` it does not collapse to a point at 0 or at 1: nothing seen
    in 48 images still allows a rate of 7 %.

    Args:
        successes: How often it happened, 0 to ``n``.
        n: How often it could have.

    Returns:
        Lower and upper bound (fractions, 0 to 1).

    Raises:
        SepmeError: If there is no rate: ``n`` is 0 or the count is out of range.

    Example:
        >>> low, high = wilson(0, 48)
        >>> low, round(high, 3)
        (0.0, 0.074)
    """
    if n < 1 or not 0 <= successes <= n:
        raise SepmeError(f"a rate needs 0 <= successes <= n and n >= 1, got {successes} of {n}.")
    rate, z2 = successes / n, _Z * _Z
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def paired_drop(before: Sequence[bool], after: Sequence[bool]) -> tuple[float, float, float]:
    """How much a rate fell between two looks at the same items, with its 95 % interval.

    Newcombe's square-and-add interval for paired proportions (Statistics in Medicine 17, 1998,
    method 10): Wilson's bounds of both rates, combined with their correlation.

    Args:
        before: Whether each item was right at first.
        after: The same items, in the same order, later.

    Returns:
        Drop, lower and upper bound (fractions, -1 to 1; positive is a loss).

    Raises:
        SepmeError: If there are no items or the two lists differ in length.

    Example:
        >>> paired_drop([True] * 4, [True, True, True, False])[0]
        0.25
    """
    if len(before) != len(after):
        raise SepmeError(f"pairs are needed, got {len(before)} before and {len(after)} after.")
    n = len(before)
    both = sum(x and y for x, y in zip(before, after, strict=True))
    first, second = sum(before), sum(after)
    (low1, high1), (low2, high2) = wilson(first, n), wilson(second, n)
    rate1, rate2 = first / n, second / n
    phi = _correlation(both, first - both, second - both, n - first - second + both)
    down = _hypotenuse(rate1 - low1, high2 - rate2, phi)
    up = _hypotenuse(high1 - rate1, rate2 - low2, phi)
    drop = (first - second) / n
    return drop, drop - down, drop + up


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Distribution-free 95 % interval of a median, from order statistics.

    Args:
        values: Independent figures; infinite ones are welcome.

    Returns:
        The two values that hold the median between them with at least 95 % confidence, or None
        for fewer than six values, which cannot.

    Example:
        >>> median_interval([1, 2, 3, 4, 5, 6])
        (1, 6)
    """
    ordered, n = sorted(values), len(values)
    below, rank = 0.0, 0
    while rank < n and below + math.comb(n, rank) / 2**n <= 0.025:
        below += math.comb(n, rank) / 2**n
        rank += 1
    return (ordered[rank - 1], ordered[n - rank]) if rank else None


def cluster_bootstrap(
    values_by_cluster: Mapping[int, Sequence[float]],
    statistic: Callable[[npt.NDArray[Any]], float] = np.mean,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap 95 % interval that draws whole clusters, such as all images of one fit.

    Images of one fit share its luck, so an interval over images alone is too narrow. The statistic
    is that of all values of the drawn clusters together; a larger cluster weighs more. Two limits:
    below about ten clusters it covers less than it says (three clusters: about 75 %), and where all
    clusters agree it is a point. Report `wilson` beside it, and believe the wider of the two.

    Args:
        values_by_cluster: Cluster, such as a fit's seed, to its values: 0 and 1 for a rate.
        statistic: Array ``(n,)``, float64, to a figure.
        draws: Bootstrap draws.
        seed: Seed of the draws; the same seed gives the same interval.

    Returns:
        Lower and upper bound, in units of the statistic.

    Raises:
        SpecError: If there are fewer than two clusters, or one has no value or one not finite.

    Example:
        >>> low, high = cluster_bootstrap({0: [1, 1, 1], 1: [0, 0, 0], 2: [1, 1, 1]})
        >>> low, high
        (0.0, 1.0)
    """
    clusters = [np.asarray(values_by_cluster[key], np.float64) for key in sorted(values_by_cluster)]
    if len(clusters) < 2 or not all(c.size and np.isfinite(c).all() for c in clusters):
        raise SpecError(
            f"two or more clusters of finite values are needed, got {len(clusters)} of sizes "
            f"{[c.size for c in clusters]}. Fit with more seeds and measure each."
        )
    chosen = np.random.default_rng(seed).integers(len(clusters), size=(draws, len(clusters)))
    found = [statistic(np.concatenate([clusters[k] for k in draw])) for draw in chosen]
    low, high = np.quantile(found, (0.025, 0.975)).tolist()
    return low, high


def _correlation(both: int, first: int, second: int, neither: int) -> float:
    """Phi of a 2 x 2 table with Newcombe's continuity correction; 0 where it is undefined."""
    margins = (both + first, second + neither, both + second, first + neither)
    if not all(margins):
        return 0.0
    surplus = float(both * neither - first * second)
    if surplus > 0:
        surplus = max(surplus - (both + first + second + neither) / 2, 0.0)
    return surplus / math.sqrt(math.prod(margins))


def _hypotenuse(a: float, b: float, phi: float) -> float:
    return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))
