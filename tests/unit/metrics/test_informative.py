"""Known verdicts."""

import pytest

from sepme.core.metric import Score
from sepme.metrics import informative, wilson


def rate(hits: int, n: int = 50) -> Score:
    return Score(hits / n, n, wilson(hits, n))


def test_apart_and_the_right_way() -> None:
    assert informative(rate(49), rate(2), higher_is_better=True).informative
    assert informative(rate(2), rate(49), higher_is_better=False).informative


@pytest.mark.parametrize(
    ("gold", "original", "reason"),
    [
        (rate(2), rate(49), "prefers the original"),
        (rate(26), rate(24), "overlap"),
        (rate(25), rate(25), "overlap"),
        (Score(1.0, 50), rate(2), "no interval"),
        (rate(49), Score(0.0, 50), "no interval"),
    ],
)
def test_uninformative(gold: Score, original: Score, reason: str) -> None:
    found = informative(gold, original, higher_is_better=True)
    assert not found.informative
    assert found.reason.startswith("uninformative")
    assert reason in found.reason


def test_more_images_can_make_a_metric_informative() -> None:
    assert not informative(rate(30), rate(20), higher_is_better=True).informative
    assert informative(rate(600, 1000), rate(400, 1000), higher_is_better=True).informative


def test_intervals_that_touch_overlap() -> None:
    gold, original = Score(2.0, 9, (1.5, 2.5)), Score(1.0, 9, (0.5, 1.5))
    assert not informative(gold, original, higher_is_better=True).informative
