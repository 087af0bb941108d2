"""CLIP score on features with known angles."""

import pytest
import torch

from sepme.errors import SpecError
from sepme.metrics import METRICS, clip_score


def test_known_angles() -> None:
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    images = torch.tensor([[2.0, 0.0], [1.0, 1.0], [-1.0, 0.0]])
    score = clip_score(texts, images)
    assert score.value == pytest.approx(100 / 2**0.5)
    assert clip_score(texts[2:].repeat(2, 1), images[2:].repeat(2, 1)).value == 0  # not negative


def test_a_prompt_of_another_image_is_worse() -> None:
    rows = torch.eye(6)
    assert clip_score(rows, rows).value == 100
    assert clip_score(rows, rows.roll(1, 0)).value == 0


def test_unpaired_rows_are_refused() -> None:
    with pytest.raises(SpecError, match="needs its prompt"):
        clip_score(torch.eye(3), torch.eye(3)[:2])
    with pytest.raises(SpecError, match="needs its prompt"):
        METRICS["clip_score"]().update(torch.eye(3), torch.eye(3)[:2])
