import pytest
import torch

from demo_model.offsets import pack, unpack


def weights(seed: int, spread: float = 1.0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes = {"unet.a": (6, 5, 3, 3), "unet.b": (7,), "text_encoder.c": (4, 9)}
    return {n: (spread * torch.randn(s, generator=draw)).half() for n, s in shapes.items()}


def test_a_gold_model_survives_packing() -> None:
    trunk, trained = weights(0), {n: w + weights(1, 0.1)[n] for n, w in weights(0).items()}
    packed = pack(trained, trunk)
    back = unpack(packed, trunk)
    for name, weight in trained.items():
        offset = weight.float() - trunk[name].float()
        step = offset.abs().reshape(len(offset), -1).amax(1) / 127
        error = (back[name].float() - weight.float()).abs().reshape(len(offset), -1).amax(1)
        assert (error <= 0.51 * step + 2e-3).all()
        assert back[name].dtype == torch.float16
        assert not torch.equal(back[name], trunk[name])  # inverse check
    small = sum(t.nbytes for t in packed.values()) / sum(w.nbytes for w in trained.values())
    assert small < 0.75


@pytest.mark.parametrize("name", ["unet.a", "unet.b"])
def test_what_did_not_move_stays(name: str) -> None:
    trunk = weights(0)
    assert torch.equal(unpack(pack(trunk, trunk), trunk)[name], trunk[name])
