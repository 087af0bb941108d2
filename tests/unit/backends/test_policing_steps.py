"""What a policy works out for a text embedding serves every step that reads the same embedding."""

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sepme.backends import policing
from sepme.core.side_path import SidePath
from sepme.pipeline import ErasedPipeline
from tests.policies import FIG, OWL, PROMPTS, SETS, held, shift_of

KINDS = [("text", "text"), ("site", "text"), ("text of values", "site")]


def flops(call: Callable[[], object]) -> int:
    """Floating-point operations of products and convolutions."""
    with FlopCounterMode(display=False) as counted:
        call()
    return counted.get_total_flops()


class Steps:
    """Evaluations of one U-Net, each at other latents."""

    def __init__(self, model: ErasedPipeline) -> None:
        self.unet, self.draw = model.pipeline.unet, torch.Generator().manual_seed(0)

    def __call__(self, embeds: torch.Tensor) -> torch.Tensor:
        latents = torch.randn(len(embeds), 4, 8, 8, generator=self.draw)
        return self.at(latents, embeds)

    def at(self, latents: torch.Tensor, embeds: torch.Tensor) -> torch.Tensor:
        return self.unet(latents, 500, encoder_hidden_states=embeds).sample


@pytest.fixture
def holding(tiny_model: ErasedPipeline) -> ErasedPipeline:
    """The tiny pipeline, whose ledger knows two concepts and has none in force."""
    held(tiny_model, shift_of("site", tiny_model, OWL), shift_of("text", tiny_model, FIG))
    return tiny_model


@pytest.mark.parametrize("kinds", KINDS, ids="+".join)
@torch.no_grad()
def test_later_steps_have_no_product_more_than_plain_ones(tiny_model, kinds) -> None:
    held(tiny_model, *(shift_of(k, tiny_model, c) for k, c in zip(kinds, (OWL, FIG), strict=True)))
    step, embeds = Steps(tiny_model), tiny_model.encode(PROMPTS)
    plain = flops(lambda: step(embeds))
    with tiny_model.policies(SETS, allow_interference=True):
        assert flops(lambda: step(embeds)) > plain  # inverse check: they are there at first
        assert [flops(lambda: step(embeds)) for _ in range(2)] == [plain, plain]
        assert flops(lambda: step(embeds.clone())) > plain  # and for another embedding


@torch.no_grad()
def test_what_is_not_kept_is_worked_out_to_the_same_bits(holding, monkeypatch) -> None:
    embeds, latents = holding.encode(PROMPTS), torch.ones(4, 4, 8, 8)
    step = Steps(holding)
    with holding.policies(SETS):
        first, kept = step.at(latents, embeds), step.at(latents, embeds)
    monkeypatch.setattr(policing, "KEPT_BYTES", 0)
    with holding.policies(SETS):
        step(embeds)
        fewer = flops(lambda: step(embeds))
        assert torch.equal(step.at(latents, embeds), first)
    assert torch.equal(kept, first)
    assert fewer > flops(lambda: step(embeds))  # inverse check: the bound acts


def test_a_whole_drawing_works_it_out_once(holding: ErasedPipeline, monkeypatch) -> None:
    """An unmodified pipeline hands one embedding over at every step, for each drawing its own."""
    inner, seen = SidePath.inner, []
    monkeypatch.setattr(
        SidePath, "inner", lambda path, text: seen.append(text) or inner(path, text)
    )
    with holding.policies([{"a"}, set()]):
        for drawings in (1, 2):
            holding.pipeline(["owl", "fig"], num_inference_steps=5, output_type="latent")
            assert len(seen) == drawings


@torch.no_grad()
def test_an_embedding_that_is_written_to_counts_as_another(holding: ErasedPipeline) -> None:
    """As by callbacks, or buffers that a pipeline uses again."""
    step, latents = Steps(holding), torch.ones(4, 4, 8, 8)
    embeds, others = holding.encode(PROMPTS), holding.encode(PROMPTS[::-1])
    with holding.policies(SETS):
        expected = step.at(latents, others)
    with holding.policies(SETS):
        before = step.at(latents, embeds)
        embeds.copy_(others)
        assert torch.equal(step.at(latents, embeds), expected)
    assert not torch.equal(before, expected)  # inverse check: a stale one would show


def test_each_graph_has_its_own(holding: ErasedPipeline) -> None:
    step, latents = Steps(holding), torch.ones(4, 4, 8, 8)
    embeds, gradients = holding.encode(PROMPTS).requires_grad_(), []
    with holding.policies(SETS):
        with torch.no_grad():
            step.at(latents, embeds)  # has no graph, and must not serve one
        for _ in range(2):
            (found,) = torch.autograd.grad(step.at(latents, embeds).square().sum(), embeds)
            gradients.append(found)
    assert torch.equal(*gradients)
    assert gradients[0].abs().flatten(1).amax(1).min() > 0


def test_inference_mode(holding: ErasedPipeline) -> None:
    step, latents, embeds = Steps(holding), torch.ones(4, 4, 8, 8), holding.encode(PROMPTS)
    moved = latents.clone().requires_grad_()
    with holding.policies(SETS):
        with torch.inference_mode():
            within = step.at(latents, embeds)
            copied = embeds.clone()
            step.at(latents, copied)
            copied.zero_()  # leaves no mark on such a tensor
            zero = step.at(latents, copied)
        outside = step.at(moved, embeds)
        outside.sum().backward()
        expected = step.at(latents, torch.zeros_like(embeds))
    assert torch.equal(within, outside)
    assert torch.equal(zero, expected)
    assert not torch.equal(zero, within)


@torch.no_grad()
def test_autocast(holding: ErasedPipeline) -> None:
    """What was worked out in one precision serves no step in another."""
    step, latents, embeds = Steps(holding), torch.ones(4, 4, 8, 8), holding.encode(PROMPTS)

    def at(dtype: torch.dtype) -> torch.Tensor:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            return step.at(latents, embeds)

    order = (torch.float32, torch.bfloat16, torch.float16, torch.bfloat16, torch.float32)
    with holding.policies(SETS):
        found = [at(dtype) for dtype in order]
    for dtype, output in zip(order, found, strict=True):
        assert output.dtype == dtype
        with holding.policies(SETS):
            assert torch.equal(at(dtype), output)
    full, brain, half = (output.float() for output in found[:3])
    assert not torch.equal(brain, full)
    assert not torch.equal(half, full)
    assert not torch.equal(half, brain)


@torch.no_grad()
def test_nothing_is_kept_after_the_block(holding: ErasedPipeline) -> None:
    step, embeds = Steps(holding), holding.encode(PROMPTS)
    there = weakref.ref(embeds)
    with holding.policies(SETS):
        step(embeds)
        del embeds
        gc.collect()
        assert there() is not None  # inverse check: it was kept inside
    gc.collect()
    assert there() is None


@torch.no_grad()
def test_a_step_that_fails_does_no_harm(holding: ErasedPipeline) -> None:
    step, embeds, latents = Steps(holding), holding.encode(PROMPTS), torch.ones(4, 4, 8, 8)
    with holding.policies(SETS):
        expected = step.at(latents, embeds)
        with pytest.raises(RuntimeError):
            step.at(torch.ones(4, 5, 8, 8), embeds)  # one channel too many
        layer = step.unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn2.to_k")
        alone = layer(embeds)
        assert torch.equal(step.at(latents, embeds), expected)
    assert torch.equal(alone, layer(embeds))  # outside a pass of the network it is pristine
