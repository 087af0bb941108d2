"""What every registered metric must do."""

import copy
import random
import re
from pathlib import Path
from typing import get_args

import pytest
import torch

from sepme.core.metric import Metric, Score, Takes
from sepme.errors import SepmeError, SpecError
from sepme.metrics import METRICS
from tests.conformance.metric_cases import CASES, MetricCase, parts

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
every_metric = pytest.mark.parametrize(("name", "case"), CASES.items(), ids=CASES)


def items(case: MetricCase) -> int:
    kept = case.reference
    return len(next(iter(kept.values())) if isinstance(kept, dict) else kept)


def observe(
    name: str, case: MetricCase, *, bad: bool = False, batch: int = 99, order: list | None = None
) -> Score:
    metric, live = METRICS[name](), case.bad if bad else case.good
    order = order or list(range(items(case)))
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        metric.update(parts(case.reference, places), parts(live, places))
    return metric.compute()


def close(a: Score, b: Score) -> bool:
    """Equal up to rounding of sums."""
    numbers = [(s.value, *(s.ci95 or (0.0, 0.0))) for s in (a, b)]
    return a.n == b.n and (a.ci95 is None) == (b.ci95 is None) and numbers[0] == approx(numbers[1])


def approx(numbers: tuple[float, ...]):
    return pytest.approx(numbers, rel=1e-9, abs=1e-9)


def test_every_metric_has_a_case_and_a_row_in_the_page() -> None:
    table = PAGE.read_text(encoding="utf-8").split("\n## ")[1]
    rows = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert set(CASES) == set(METRICS) == set(rows)


@every_metric
def test_says_what_it_is(name: str, case: MetricCase) -> None:
    kind = METRICS[name]
    assert issubclass(kind, Metric)
    assert kind.name == name
    assert kind.takes in get_args(Takes)
    assert isinstance(kind.higher_is_better, bool)
    assert kind.bounds[0] < kind.bounds[1]
    assert kind.__doc__


@every_metric
def test_tells_good_from_bad(name: str, case: MetricCase) -> None:
    kind, good, bad = METRICS[name], observe(name, case), observe(name, case, bad=True)
    assert (good.value > bad.value) if kind.higher_is_better else (good.value < bad.value)
    for score in (good, bad):
        assert score.n == case.n
        assert kind.bounds[0] <= score.value <= kind.bounds[1]
        if score.ci95 is not None:
            assert score.ci95[0] <= score.value <= score.ci95[1]


@every_metric
@pytest.mark.parametrize("batch", [1, 3, 16])
def test_the_split_into_batches_changes_nothing(name: str, case: MetricCase, batch: int) -> None:
    for bad in (False, True):
        assert close(observe(name, case, bad=bad, batch=batch), observe(name, case, bad=bad))


@every_metric
def test_the_order_changes_nothing(name: str, case: MetricCase) -> None:
    order = list(range(items(case)))
    random.Random(0).shuffle(order)
    for bad in (False, True):
        assert close(observe(name, case, bad=bad, order=order), observe(name, case, bad=bad))
    assert not close(observe(name, case, bad=True), observe(name, case))  # it can tell


@every_metric
def test_nothing_is_no_figure(name: str, case: MetricCase) -> None:
    metric = METRICS[name]()
    with pytest.raises(SpecError):
        metric.compute()
    metric.update(case.reference, case.good)
    metric.reset()
    with pytest.raises(SpecError):
        metric.compute()


@every_metric
def test_an_empty_batch_adds_nothing(name: str, case: MetricCase) -> None:
    metric = METRICS[name]()
    metric.update(parts(case.reference, []), parts(case.good, []))
    with pytest.raises(SpecError):
        metric.compute()


@every_metric
def test_starts_anew_after_a_reset(name: str, case: MetricCase) -> None:
    metric = METRICS[name]()
    metric.update(case.reference, case.bad)
    metric.reset()
    metric.update(case.reference, case.good)
    assert metric.compute() == observe(name, case)


@every_metric
def test_looking_changes_nothing(name: str, case: MetricCase) -> None:
    before, state = copy.deepcopy(case), torch.get_rng_state()
    metric = METRICS[name]()
    metric.update(case.reference, case.bad)
    assert metric.compute() == metric.compute()
    assert torch.equal(torch.get_rng_state(), state)
    assert close(observe(name, before, bad=True), observe(name, case, bad=True))


@every_metric
def test_keeps_no_hold_of_what_it_was_given(name: str, case: MetricCase) -> None:
    mine, metric = copy.deepcopy(case), METRICS[name]()
    metric.update(mine.reference, mine.bad)
    expected = metric.compute()
    if isinstance(mine.bad, dict):
        mine.bad["erased"].clear()
    elif isinstance(mine.bad, torch.Tensor):
        mine.bad.zero_()
    else:
        mine.bad.clear()
    assert metric.compute() == expected


@every_metric
def test_a_refused_batch_leaves_no_trace(name: str, case: MetricCase) -> None:
    metric = METRICS[name]()
    metric.update(case.reference, case.good)
    before = metric.compute()
    with pytest.raises(SepmeError):
        metric.update(case.reference, case.wrong)
    assert metric.compute() == before
