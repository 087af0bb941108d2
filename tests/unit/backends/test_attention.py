import pytest
import torch

from sepme.backends.attention import attention_maps
from tests.tiny import TOKENS, noise_of

WHEN = torch.tensor([10, 500])


def latents(n: int = 2) -> torch.Tensor:
    return torch.randn(n, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def outputs_of(unet, call) -> tuple[dict, dict]:
    """Values and outputs of every cross-attention layer while ``call`` runs."""
    values, outputs, handles = {}, {}, []
    for name, layer in unet.named_modules():
        if name.endswith(".attn2"):
            for at, store in ((layer.to_v, values), (layer, outputs)):
                handles.append(
                    at.register_forward_hook(
                        lambda _m, _i, out, name=name, store=store: store.update({name: out})
                    )
                )
    call()
    for handle in handles:
        handle.remove()
    return values, outputs


def rebuilt(layer, attention: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """What the layer gives if it attends like that."""
    heads = layer.head_to_batch_dim(values)
    mixed = layer.batch_to_head_dim(attention.flatten(0, 1) @ heads)
    return layer.to_out[0](mixed)


@pytest.mark.parametrize("changed", [False, True])
def test_maps_reproduce_what_the_layers_give(tiny_model, changed: bool) -> None:
    backend, unet = tiny_model.backend, tiny_model.pipeline.unet
    noise = {s: torch.randn_like(w) / 10 for s, w in backend.sites().items()}
    deltas = noise if changed else None
    found = {}
    embeds = backend.encode(["owl", "fig jar"])
    with torch.no_grad():
        values, outputs = outputs_of(
            unet, lambda: found.update(backend.attend(latents(), WHEN, embeds, deltas=deltas))
        )
        pristine = backend.attend(latents(), WHEN, embeds)
        assert found.keys() == outputs.keys()
        assert len(found) == 4
        for name, attention in found.items():
            n, heads, pixels, tokens = attention.shape
            assert (n, heads, tokens) == (2, 4, TOKENS)
            assert pixels in (64, 16)
            assert torch.allclose(attention.sum(dim=-1), torch.ones(()), atol=1e-5)
            layer = unet.get_submodule(name)
            again = rebuilt(layer, attention, values[name])
            assert torch.allclose(again, outputs[name], atol=1e-5)
            other = rebuilt(layer, attention.flip(-1), values[name])  # inverse: another map
            assert not torch.allclose(other, outputs[name], atol=1e-3)
            assert torch.equal(attention, pristine[name]) != changed


def test_gradients_reach_the_keys(tiny_model) -> None:
    deltas = {s: torch.zeros_like(w, requires_grad=True) for s, w in tiny_model.sites().items()}
    maps = tiny_model.attend(latents(), WHEN, tiny_model.encode(["owl", "fig"]), deltas=deltas)
    sum(attention[..., 1].square().sum() for attention in maps.values()).backward()
    moved = {site for site, delta in deltas.items() if delta.grad is not None and delta.grad.any()}
    assert {site for site in deltas if site.endswith("to_k")} <= moved


def test_hooks_are_gone_afterwards(tiny_model) -> None:
    unet = tiny_model.pipeline.unet
    before = noise_of(tiny_model, ["owl"], [])
    with pytest.raises(ZeroDivisionError), attention_maps(unet) as maps:
        raise ZeroDivisionError
    assert torch.equal(noise_of(tiny_model, ["owl"], []), before)
    assert not maps
    assert not any(module._forward_hooks for module in unet.modules())
