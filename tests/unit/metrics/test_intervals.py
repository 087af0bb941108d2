import math

import numpy as np
import pytest
from scipy import stats

from sepme.errors import SepmeError, SpecError
from sepme.metrics import cluster_bootstrap, median_interval, paired_drop, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 48), (2, 96), (24, 48), (47, 48), (48, 48)])
def test_wilson_against_scipy(k: int, n: int) -> None:
    expected = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_bounds_solve_the_score_equation() -> None:
    for bound in wilson(7, 50):
        z = (7 / 50 - bound) / math.sqrt(bound * (1 - bound) / 50)
        assert abs(z) == pytest.approx(stats.norm.ppf(0.975))


def test_wilson_never_collapses() -> None:
    low, high = wilson(0, 20)
    assert low == 0
    assert high > 0.1
    assert wilson(20, 20)[1] == 1


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_rate(k: int, n: int) -> None:
    with pytest.raises(SepmeError):
        wilson(k, n)


def pairs(both: int, lost: int, gained: int, neither: int) -> tuple[list[bool], list[bool]]:
    before = [True] * (both + lost) + [False] * (gained + neither)
    after = [True] * both + [False] * lost + [True] * gained + [False] * neither
    return before, after


def test_paired_drop_counts_losses_minus_gains() -> None:
    drop, low, high = paired_drop(*pairs(40, 6, 2, 2))
    assert drop == pytest.approx(4 / 50)
    assert low < drop < high
    mirrored = paired_drop(*reversed(pairs(40, 6, 2, 2)))
    assert mirrored == pytest.approx((-drop, -high, -low))


def test_paired_drop_covers_the_truth() -> None:
    draw = np.random.default_rng(0)
    table = [0.85, 0.08, 0.02, 0.05]
    runs = [paired_drop(*pairs(*draw.multinomial(60, table))) for _ in range(2000)]
    covered = np.mean([low <= 0.06 <= high for _, low, high in runs])
    assert 0.93 <= covered <= 0.99
    assert np.mean([low <= 0.25 <= high for _, low, high in runs]) < 0.2  # a wrong value is missed


def test_paired_drop_known_answer() -> None:
    """Newcombe 1998, table II, the contrast 36, 12, 2, 0 by method 10."""
    assert paired_drop(*pairs(36, 12, 2, 0)) == pytest.approx((0.2, 0.0569, 0.3404), abs=1e-4)


def test_pairing_narrows_the_interval() -> None:
    together = paired_drop(*pairs(40, 2, 0, 18))
    apart = paired_drop(*pairs(26, 16, 14, 4))
    assert together[0] == pytest.approx(apart[0])
    assert together[2] - together[1] < apart[2] - apart[1]


def test_paired_drop_refuses_unequal_lists() -> None:
    with pytest.raises(SepmeError):
        paired_drop([True], [])


@pytest.mark.parametrize("n", [6, 9, 24, 48])
def test_median_interval_has_binomial_coverage_and_is_the_tightest(n: int) -> None:
    low, high = median_interval(list(range(1, n + 1)))
    assert low + high == n + 1
    assert stats.binom.cdf(low - 1, n, 0.5) <= 0.025 < stats.binom.cdf(low, n, 0.5)


def test_median_interval_needs_six_values() -> None:
    assert median_interval([1, 2, 3, 4, 5]) is None
    assert median_interval([math.inf] * 6) == (math.inf, math.inf)


def test_one_value_per_cluster_is_the_plain_bootstrap() -> None:
    values = np.random.default_rng(3).normal(size=12)
    found = cluster_bootstrap({k: [v] for k, v in enumerate(values)}, draws=4000)
    plain = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert found == pytest.approx((plain.low, plain.high), abs=0.03)
    chosen = np.random.default_rng(0).integers(12, size=(4000, 12))
    by_hand = np.quantile(values[chosen].mean(1), (0.025, 0.975))
    assert found == pytest.approx(tuple(by_hand), abs=1e-12)


def test_values_that_agree_inside_clusters_widen_it() -> None:
    alike = {seed: [float(seed % 2)] * 30 for seed in range(12)}
    low, high = cluster_bootstrap(alike)
    naive = wilson(180, 360)  # as if 360 images were independent
    assert high - low > 3 * (naive[1] - naive[0])
    random = np.random.default_rng(0)
    apart = {seed: random.integers(0, 2, 30).tolist() for seed in range(12)}
    low, high = cluster_bootstrap(apart)  # inverse check: where they are, Wilson is right
    assert high - low < 1.4 * (naive[1] - naive[0])


def test_a_larger_cluster_weighs_more_and_any_statistic_will_do() -> None:
    clusters = {0: [0.0] * 9, 1: [1.0]}
    assert cluster_bootstrap(clusters) == (0, 1)
    middle = cluster_bootstrap({k: [k, k + 1, 100] for k in range(9)}, np.median)
    assert 0 < middle[0] < middle[1] < 20
    alone = cluster_bootstrap({k: [k, k + 1, 100] for k in range(9)})
    assert alone[0] > 20


def test_cluster_bootstrap_depends_on_its_seed_and_not_on_the_order() -> None:
    clusters = {k: np.random.default_rng(k).normal(size=5) for k in range(6)}
    found = cluster_bootstrap(clusters)
    assert cluster_bootstrap(dict(reversed(clusters.items()))) == found
    assert cluster_bootstrap(clusters, seed=1) != found


@pytest.mark.parametrize(("clusters", "low", "high"), [(3, 0.6, 0.85), (20, 0.9, 0.98)])
def test_cluster_bootstrap_covers_as_its_docstring_says(
    clusters: int, low: float, high: float
) -> None:
    random = np.random.default_rng(0)
    covered = naive = 0
    for _ in range(200):
        rates = random.beta(8, 2, clusters)  # mean 0.8
        hits = {k: random.binomial(1, rate, 48) for k, rate in enumerate(rates)}
        bounds = cluster_bootstrap(hits, draws=300)
        covered += bounds[0] <= 0.8 <= bounds[1]
        bounds = wilson(int(sum(map(sum, hits.values()))), 48 * clusters)
        naive += bounds[0] <= 0.8 <= bounds[1]
    assert low <= covered / 200 <= high
    assert naive < covered


@pytest.mark.parametrize("clusters", [{}, {0: [1.0]}, {0: [1.0], 1: []}, {0: [1.0], 1: [math.nan]}])
def test_cluster_bootstrap_refuses(clusters: dict[int, list[float]]) -> None:
    with pytest.raises(SpecError, match="clusters"):
        cluster_bootstrap(clusters)
