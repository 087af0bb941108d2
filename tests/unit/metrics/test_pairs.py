import numpy as np
import pytest

from sepme.errors import SepmeError, SpecError
from sepme.metrics import METRICS
from sepme.metrics._pairs import difference

BLACK, WHITE = np.zeros((11, 11), np.uint8), np.full((11, 11), 255, np.uint8)


def test_differences_have_a_sign() -> None:
    assert (difference(BLACK, WHITE) == -255).all()
    assert (difference(WHITE, BLACK) == 255).all()


@pytest.mark.parametrize("name", ["largest_difference", "psnr", "ssim"])
def test_a_batch_is_observed_whole_or_not_at_all(name: str) -> None:
    metric = METRICS[name]()
    metric.update([BLACK], [BLACK])
    with pytest.raises(SpecError, match="2 and 1 images"):
        metric.update([BLACK, BLACK], [WHITE])
    with pytest.raises(SepmeError, match="one shape"):
        metric.update([BLACK, BLACK], [WHITE, WHITE[:5]])  # the first of them would fit
    assert metric.compute().n == 1
