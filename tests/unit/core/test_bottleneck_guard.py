import pytest
import torch

from sepme.core.bottleneck_guard import BottleneckGuard
from sepme.errors import Diverged, MethodError


def guard() -> BottleneckGuard:
    draw = torch.Generator().manual_seed(0)
    down, up = torch.randn(3, 5, generator=draw), torch.randn(5, 3, generator=draw)
    return BottleneckGuard({"to_out": down}, {"to_out": up})


def test_it_is_the_two_layer_network_written_out() -> None:
    one, h = guard(), torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(1))
    found = one.output("to_out", h[..., :2], h, h, 0.5)
    for image, after in zip(h, found, strict=True):
        for row, changed in zip(image, after, strict=True):
            inner = torch.nn.functional.gelu(one.down["to_out"] @ row)
            torch.testing.assert_close(changed, row + 0.5 * one.up["to_out"] @ inner)
    assert torch.equal(one.output("to_out", h, h, h, 0.0), h)
    assert not torch.allclose(found, h)  # inverse check
    half = one.output("to_out", h, h.half(), h, 0.5)
    assert half.dtype == torch.float16


def test_it_comes_back_from_its_tensors() -> None:
    one = guard()
    again = BottleneckGuard.from_tensors(one.tensors())
    assert all(torch.equal(tensor, again.tensors()[name]) for name, tensor in one.tensors().items())


def test_bad_tensors_are_refused() -> None:
    tensors = guard().tensors()
    with pytest.raises(MethodError, match="one only"):
        BottleneckGuard.from_tensors({**tensors, "down.to_k": tensors["down.to_out"]})
    with pytest.raises(MethodError, match="where its way down ends"):
        BottleneckGuard.from_tensors({**tensors, "down.to_out": torch.ones(2, 5)})
    with pytest.raises(MethodError, match="no tensor named"):
        BottleneckGuard.from_tensors({**tensors, "odd": torch.ones(2, 5)})
    with pytest.raises(Diverged):
        BottleneckGuard.from_tensors({**tensors, "up.to_out": torch.full((5, 3), torch.inf)})
