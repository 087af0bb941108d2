import math

import numpy as np
import pytest
from scipy import stats

from sepme.errors import SpecError
from sepme.metrics import METRICS, harmonic_mean, harmonic_score
from tests.unit.metrics.oracle import OBJECTS, STYLES, Model, chunks, detect, prompts

TARGET, KEPT = STYLES[0], STYLES[1:]


def test_mean_against_scipy_and_its_limit_at_zero() -> None:
    rates = [0.2, 0.9, 0.55]
    assert harmonic_mean(rates) == pytest.approx(stats.hmean(rates))
    assert harmonic_mean([1e-9, 1.0]) == pytest.approx(2e-9)
    assert harmonic_mean([0.0, 1.0]) == 0
    assert harmonic_mean([0.7]) == pytest.approx(0.7)


@pytest.mark.parametrize("rates", [[], [1.1], [-0.1, 0.5], [math.nan]])
def test_what_are_no_rates_is_refused(rates: list[float]) -> None:
    with pytest.raises(SpecError, match="fractions"):
        harmonic_mean(rates)


@pytest.mark.parametrize("counts", [[], [(0, 0)], [(3, 2), (1, 2)], [(-1, 2)]])
def test_what_are_no_counts_is_refused(counts: list[tuple[int, int]]) -> None:
    with pytest.raises(SpecError, match="trial"):
        harmonic_score(counts)


@pytest.mark.parametrize(
    ("rates", "trials"),
    [((0.95, 0.9), (48, 96)), ((0.9, 0.9, 0.9), (24, 48, 24)), ((0.3, 0.95, 0.6), (96, 96, 96))],
)
def test_the_interval_covers_the_truth(rates: tuple, trials: tuple) -> None:
    random = np.random.default_rng(0)
    runs = [
        harmonic_score(list(zip(random.binomial(trials, rates), trials, strict=True)), draws=1000)
        for _ in range(600)
    ]
    truth = stats.hmean(rates)
    covered = np.mean([score.ci95[0] <= truth <= score.ci95[1] for score in runs])
    assert 0.92 <= covered <= 0.99
    missed = np.mean([score.ci95[0] <= truth - 0.2 <= score.ci95[1] for score in runs])
    assert missed < 0.2  # inverse check: a wrong value is not covered


def test_the_interval_does_not_collapse_at_the_ends() -> None:
    best, worst = harmonic_score([(48, 48), (48, 48)]), harmonic_score([(0, 48), (48, 48)])
    assert best.ci95[1] == 1
    assert 0.9 < best.ci95[0] < 0.98
    assert worst.ci95[0] == 0
    assert 0.02 < worst.ci95[1] < 0.2


def test_more_images_narrow_it_and_a_seed_fixes_it() -> None:
    few, many = harmonic_score([(9, 10), (8, 10)]), harmonic_score([(90, 100), (80, 100)])
    assert few.value == many.value
    assert many.ci95[1] - many.ci95[0] < few.ci95[1] - few.ci95[0]
    assert harmonic_score([(9, 10), (8, 10)]) == few
    assert harmonic_score([(9, 10), (8, 10)], seed=1) != few


def h_score(name: str, model: Model, batch: int = 8):
    """H over erased, retained and, for H_o, reworded prompts (here: the target with dogs)."""
    groups = {
        "erased": prompts(24, style=[TARGET], thing=OBJECTS[:2]),
        "retained": prompts(24, style=KEPT),
        "general": prompts(12, style=[TARGET], thing=OBJECTS[2:]),
    }
    metric = METRICS[name]()
    for group, wanted in groups.items():
        if name == "h_c" and group == "general":
            continue
        for part in chunks(wanted, batch):
            seen = detect(model.draw(part))["style"]
            metric.update({group: [style for style, _ in part]}, {group: seen})
    return metric.compute()


@pytest.mark.parametrize("name", ["h_c", "h_o"])
def test_known_answers_through_the_oracle(name: str) -> None:
    assert h_score(name, Model(frozenset([TARGET]))).value == 1
    assert h_score(name, Model()).value == 0
    for broken in ("black", "noise"):  # everything "erased", nothing retained
        assert h_score(name, Model(broken=broken)).value == 0


def test_formulas() -> None:
    expected = {"erased": ["cat"] * 4, "retained": ["dog"] * 5, "general": ["cat"] * 10}
    seen = {
        "erased": ["cat", "dog", "dog", "dog"],
        "retained": ["dog", "dog", "cat", "dog", "dog"],
        "general": ["cat"] * 4 + ["dog"] * 6,
    }
    h_o, h_c = METRICS["h_o"](), METRICS["h_c"]()
    h_o.update(expected, seen)
    for group in ("retained", "erased"):
        h_c.update({group: expected[group]}, {group: seen[group]})
    acc_e, acc_s, acc_g = 1 / 4, 4 / 5, 4 / 10
    assert h_o.compute().value == pytest.approx(3 / (1 / (1 - acc_e) + 1 / acc_s + 1 / (1 - acc_g)))
    assert h_o.compute().n == 19
    assert h_c.compute().value == pytest.approx(2 / (1 / (1 - acc_e) + 1 / acc_s))
    assert h_c.compute().n == 9


def test_a_group_without_images_is_named_and_a_strange_one_refused() -> None:
    metric = METRICS["h_o"]()
    metric.update({"erased": ["cat"], "retained": ["dog"]}, {"erased": ["dog"], "retained": ["x"]})
    with pytest.raises(SpecError, match="none of general"):
        metric.compute()
    with pytest.raises(SpecError, match="Did you mean 'retained'"):
        metric.update({"retain": ["cat"]}, {"retain": ["cat"]})
    with pytest.raises(SpecError, match="not a miss"):
        metric.update({"general": ["cat"]}, {})
