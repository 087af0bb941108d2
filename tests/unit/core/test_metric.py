import math

import pytest

from sepme.core.metric import Metric, Score
from sepme.errors import SpecError


def test_a_score_is_a_value() -> None:
    assert Score(0.5, 3) == Score(0.5, 3, None)
    assert Score(math.inf, 3, (30.0, math.inf)).value == math.inf
    with pytest.raises(AttributeError):
        Score(0.5, 3).value = 1.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0.0, 0), "at least one image"),
        ((math.nan, 3), "nan"),
        ((0.5, 3, (math.nan, 1.0)), "nan"),
        ((0.5, 3, (1.0, 0.0)), "Swap"),
    ],
)
def test_a_score_of_nothing_is_refused(arguments: tuple, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        Score(*arguments)


def test_a_metric_must_do_all_three() -> None:
    class Half(Metric[list]):
        def reset(self) -> None: ...

    with pytest.raises(TypeError, match="abstract"):
        Half()
