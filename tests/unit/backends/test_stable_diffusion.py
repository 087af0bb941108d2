import pytest
import torch
from diffusers import EulerDiscreteScheduler
from peft import LoraConfig

import sepme
from sepme.backends.stable_diffusion import IMAGES_AT_ONCE, StableDiffusion
from sepme.errors import BackendError
from sepme.linalg.low_rank import LowRank
from tests.tiny import D_TEXT, TINY_CONCEPTS, TOKENS, null_space_shift, pixels

WHEN = torch.tensor([10, 500])


@pytest.fixture
def backend(tiny_model) -> StableDiffusion:
    return tiny_model.backend


@pytest.fixture
def erased(tiny_model) -> StableDiffusion:
    tiny_model.erase(null_space_shift(tiny_model, TINY_CONCEPTS[0]))
    return tiny_model.backend


def latents(n: int = 2) -> torch.Tensor:
    return torch.randn(n, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_sites_are_the_text_sites(backend: StableDiffusion) -> None:
    sites = backend.sites()
    assert len(sites) == 8
    assert all(weight.shape[1] == D_TEXT for weight in sites.values())
    assert all("attn2.to_k" in site or "attn2.to_v" in site for site in sites)


@pytest.mark.parametrize(
    ("target_modules", "count"),
    [
        (r".*\.attn2\.to_v", 4),
        (r"mid_block.*attn2\.to_[kv]", 2),
        (["to_k"], 8),
        (["attn2.to_k", ".attn2.to_v"], 8),
    ],
)
def test_target_modules_follow_peft(backend: StableDiffusion, target_modules, count: int) -> None:
    assert len(backend.sites(target_modules)) == count


@pytest.mark.parametrize("target_modules", ["attn2", ["o_k"], [], "(", r".*\.norm1"])
def test_target_modules_that_match_nothing(backend: StableDiffusion, target_modules) -> None:
    with pytest.raises(BackendError, match="target_modules"):
        backend.sites(target_modules)


def test_encodes_as_the_pipeline_does(backend: StableDiffusion) -> None:
    prompts = ["owl", "", "a very long prompt that is cut"]
    rows = backend.encode(prompts)
    assert rows.shape == (3, TOKENS, D_TEXT)
    assert not rows.requires_grad
    theirs, _ = backend.pipeline.encode_prompt(prompts, "cpu", 1, False)
    assert torch.allclose(rows, theirs, atol=1e-6)
    assert torch.equal(backend.encode(["owl"])[0], rows[0])  # whatever it is encoded with
    assert not torch.allclose(rows[0], rows[1])


def test_predicts_with_pristine_weights(erased: StableDiffusion) -> None:
    rows = erased.encode(["owl", "owl"])
    with torch.no_grad():
        noise = erased.predict_noise(latents(), WHEN, rows)
        live = erased.pipeline.unet(latents(), WHEN, rows).sample
        with erased.pristine():
            teacher = erased.pipeline.unet(latents(), WHEN, rows).sample
    assert torch.allclose(noise, teacher, atol=1e-6)
    assert not torch.allclose(noise, live, atol=1e-4)


def test_deltas_are_added_and_differentiable(backend: StableDiffusion) -> None:
    site, weight = next(iter(backend.sites().items()))
    rows = backend.encode(["owl", "fig"])
    left = torch.randn(len(weight), 2, requires_grad=True)
    right = torch.randn(2, D_TEXT)
    noise = backend.predict_noise(latents(), WHEN, rows, deltas={site: LowRank(left, right)})
    dense = backend.predict_noise(latents(), WHEN, rows, deltas={site: left @ right})
    assert torch.allclose(noise, dense, atol=1e-6)
    assert not torch.allclose(noise, backend.predict_noise(latents(), WHEN, rows), atol=1e-4)
    noise.square().mean().backward()
    assert left.grad is not None
    assert left.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in backend.pipeline.unet.parameters())
    assert torch.equal(backend.live()[site], weight)


def test_noise_is_added_by_the_plain_process(backend: StableDiffusion) -> None:
    scheduler = backend.pipeline.scheduler
    alpha = scheduler.alphas_cumprod[WHEN].view(-1, 1, 1, 1)
    expected = alpha.sqrt() * latents() + (1 - alpha).sqrt() * torch.ones(2, 4, 8, 8)
    for other in (scheduler, EulerDiscreteScheduler.from_config(scheduler.config)):
        backend.pipeline.scheduler = other
        noised = backend.add_noise(latents(), torch.ones(2, 4, 8, 8), WHEN)
        backend.pipeline.scheduler = scheduler
        assert torch.allclose(noised, expected, atol=1e-6)


def test_pristine_comes_to_an_end_whatever_happens(erased: StableDiffusion) -> None:
    before = {site: weight.clone() for site, weight in erased.live().items()}

    def interrupted() -> None:
        with erased.pristine():
            assert all(torch.equal(erased.live()[s], w) for s, w in erased.sites().items())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(torch.equal(erased.live()[site], weight) for site, weight in before.items())
    assert any(not torch.equal(before[s], w) for s, w in erased.sites().items())


def test_draws_latents_of_the_pristine_model(tiny_model) -> None:
    target = TINY_CONCEPTS[0]
    expected = tiny_model.draw_latents(target.prompts, seeds=[3])
    tiny_model.erase(null_space_shift(tiny_model, target))
    assert torch.equal(tiny_model.draw_latents(target.prompts, seeds=[3]), expected)
    assert not torch.equal(tiny_model.draw_latents(target.prompts, seeds=[4]), expected)
    assert expected.shape == (1, 4, 8, 8)
    assert not expected.is_inference()


def test_decodes_latents_as_the_pipeline_does(backend: StableDiffusion) -> None:
    n = IMAGES_AT_ONCE + 1
    latents = backend.draw_latents(["owl"] * n, seeds=range(n))
    decoded = pixels(backend.decode(latents))
    assert torch.equal(decoded, pixels(backend.generate(["owl"] * n, seeds=range(n))))
    assert not torch.equal(pixels(backend.decode(-latents)), decoded)


def test_generates_one_image_for_each_prompt_and_seed(backend: StableDiffusion) -> None:
    n = IMAGES_AT_ONCE + 2
    images = pixels(backend.generate(["owl"] * n, seeds=range(n), steps=2))
    assert images.shape == (n, 16, 16, 3)
    again = pixels(backend.generate(["owl"] * IMAGES_AT_ONCE, seeds=range(IMAGES_AT_ONCE), steps=2))
    assert torch.equal(images[:IMAGES_AT_ONCE], again)
    assert len({image.numpy().tobytes() for image in images}) == n
    alone = pixels(backend.generate(["owl"], seeds=[n - 1], steps=2))
    assert (images[-1:] - alone).abs().max() <= 1
    assert backend.generate([], seeds=[]) == []


def test_options_reach_the_pipeline(backend: StableDiffusion) -> None:
    def draw(**options) -> bytes:
        return pixels(backend.generate(["owl"], seeds=[0], steps=2, **options)).numpy().tobytes()

    assert draw() == draw(guidance_scale=backend.sidecar.guidance_scale)
    assert len({draw(), draw(guidance_scale=1.0), draw(negative_prompt="fig")}) == 3


def test_prompts_and_seeds_must_pair_up(backend: StableDiffusion) -> None:
    with pytest.raises(BackendError, match="2 prompts and 1 seeds"):
        backend.generate(["owl", "fig"], seeds=[0])


def test_fingerprint_is_of_the_base(tiny_model, demo_model) -> None:
    before = tiny_model.fingerprint
    tiny_model.erase(null_space_shift(tiny_model, TINY_CONCEPTS[0]))
    assert StableDiffusion(tiny_model.pipeline, tiny_model.backend.sidecar).fingerprint != before
    assert tiny_model.fingerprint == before
    assert demo_model.fingerprint != before


def test_adapters_must_be_unloaded_first(tiny_folder) -> None:
    pipeline = sepme.load(tiny_folder).pipeline
    pipeline.unet.add_adapter(LoraConfig(r=2, target_modules=["to_k"]))
    with pytest.raises(BackendError, match="fuse or unload"):
        sepme.load(pipeline)
    pipeline.unet.delete_adapters("default")


def test_two_text_encoders_are_another_family(xl_model) -> None:
    with pytest.raises(BackendError, match="two text encoders"):
        StableDiffusion(xl_model.pipeline, xl_model.backend.sidecar)
