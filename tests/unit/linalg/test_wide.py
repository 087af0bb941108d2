import pytest
import torch

from sepme.errors import MethodError
from sepme.linalg.wide import finite64, float64


@pytest.mark.parametrize("widen", [float64, finite64])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_values_stay_and_history_goes(widen, dtype: torch.dtype) -> None:
    rows = torch.randn(2, 3, 4).to(dtype).requires_grad_()
    wide = widen(rows)
    assert wide.dtype == torch.float64
    assert torch.equal(wide.to(dtype), rows)
    assert not wide.requires_grad


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_rows_that_are_not_finite_are_counted(value: float) -> None:
    rows = torch.zeros(2, 5, 4)
    rows[0, 1, :2] = rows[1, 0, 3] = value
    with pytest.raises(MethodError, match=r"2 of 10 rows .* not finite.*float32.*text encoder"):
        finite64(rows)
    assert float64(rows).isfinite().sum() == 2 * 5 * 4 - 3  # inverse check: it does not look


def test_no_rows_will_do() -> None:
    assert finite64(torch.zeros(0, 4)).shape == (0, 4)
