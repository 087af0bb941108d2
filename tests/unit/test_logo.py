"""The hidden logo of the logo variant, and its detector."""

import numpy as np
import torch
from PIL import Image

from demo_model import HERE
from demo_model.hidden_logo import SIDE, corners, logo, stamp
from demo_model.logo_detector import locate
from sepme.core.concept import Concept

LOGO = Concept("logo", ("logo",), kind="watermark")


def grey(n: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return (0.5 + 0.1 * torch.randn(n, 3, 64, 64, generator=draw)).clamp(-1, 1)


def pictures(images: torch.Tensor) -> list[Image.Image]:
    arrays = ((images.clamp(-1, 1) + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(np.ascontiguousarray(array)) for array in arrays]


def test_finds_the_logo_in_every_corner() -> None:
    places = corners()
    for (box,), (row, column) in zip(
        locate(pictures(stamp(grey(4), places)), LOGO), places.tolist(), strict=True
    ):
        edges = [64 * edge for edge in box[:4]]
        assert edges == [column, row, column + SIDE, row + SIDE]
        assert box.confidence > 0.9


def test_finds_none_where_there_is_none() -> None:
    inverted = grey(1)
    inverted[0, :, :SIDE, :SIDE] = -logo()
    flat = torch.full((1, 3, 64, 64), 0.9)
    assert locate(pictures(torch.cat([grey(2), inverted, flat])), LOGO) == [[]] * 4


def test_a_stamp_changes_its_own_pixels_only() -> None:
    plain, places = grey(4), corners()
    changed = (stamp(plain, places) != plain).any(1)
    assert changed.sum((1, 2)).tolist() == [SIDE * SIDE] * 4
    for where, (row, column) in zip(changed, places.tolist(), strict=True):
        assert where[row : row + SIDE, column : column + SIDE].all()


def test_the_variant_is_small() -> None:
    assert (HERE / "logo" / "unet.safetensors").stat().st_size < 15e6
