import math

import pytest

from sepme.core.limits import Limits

FRACTION = Limits(float, above=0, most=1)
COUNT = Limits(int, least=2)
CHOICE = Limits(str, one_of=("a", "b"))


@pytest.mark.parametrize(
    ("limits", "good", "bad"),
    [
        (FRACTION, (1, 1.0, 1e-9), (0, 1.1, math.nan, math.inf, True, "1", None)),
        (COUNT, (2, 10**6), (1, 2.0, True, "2")),
        (CHOICE, ("a", "b"), ("c", "", 1)),
        (Limits(str), ("anything", ""), (1, None)),
        (Limits(bool), (True, False), (1, 0.0, "true", None)),
        (Limits(float), (-1.5, 0), (math.nan, "0")),
    ],
)
def test_fit(limits: Limits, good: tuple, bad: tuple) -> None:
    assert all(limits.fit(value) for value in good)
    assert not any(limits.fit(value) for value in bad)


def test_in_words() -> None:
    assert str(FRACTION) == "a finite number above 0 and at most 1"
    assert str(COUNT) == "a whole number at least 2"
    assert str(CHOICE) == "'a' or 'b'"
    assert str(Limits(str)) == "a text"
    assert str(Limits(bool)) == "true or false"
    assert str(Limits(float)) == "a finite number"
