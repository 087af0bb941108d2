import math

import pytest
import torch

from sepme.errors import SpecError
from sepme.metrics import METRICS
from sepme.metrics._features import feature_sets


def test_sets_are_copied_into_float64() -> None:
    rows = torch.ones(3, 2, dtype=torch.float16)
    first, second = feature_sets(rows, rows)
    assert first.dtype == second.dtype == torch.float64
    first[0] = 7
    assert rows.max() == second.max() == 1


@pytest.mark.parametrize(
    "wrong",
    [
        torch.tensor(1.0),
        torch.zeros(2),
        torch.zeros(2, 4),
        torch.zeros(2, 3, 1),
        torch.full((2, 3), math.nan),
    ],
    ids=["number", "vector", "width", "cube", "nan"],
)
def test_a_batch_that_does_not_fit_is_refused_at_once(wrong: torch.Tensor) -> None:
    metric = METRICS["kid"]()
    metric.update(torch.zeros(2, 3), torch.ones(2, 3))
    before = metric.compute()
    for reference, live in ((wrong, torch.zeros(2, 3)), (torch.zeros(2, 3), wrong)):
        with pytest.raises(SpecError, match="extractor"):
            metric.update(reference, live)
    assert metric.compute() == before


def test_one_image_is_too_few_until_another_comes() -> None:
    metric = METRICS["fid"]()
    metric.update(torch.zeros(1, 3), torch.ones(1, 3))
    with pytest.raises(SpecError, match="at least 2"):
        metric.compute()
    metric.update(torch.zeros(1, 3), torch.ones(1, 3))
    assert metric.compute().value == 3
