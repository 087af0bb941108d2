from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline

import sepme
from sepme.backends.sdxl import StableDiffusionXL
from sepme.backends.sidecar import Sidecar
from sepme.backends.subject import DiffusionSubject
from sepme.errors import BackendError, SpecError
from tests.tiny import D_TEXT, TINY_CONCEPTS, TOKENS, null_space_shift, pixels
from tests.tiny_xl import D_FIRST, D_POOLED

WHEN = torch.tensor([10, 500])
SCALE = 0.13025


@pytest.fixture
def backend(xl_model) -> StableDiffusionXL:
    return xl_model.backend


@pytest.fixture
def plain(xl_folder) -> StableDiffusionXLPipeline:
    """The same model in diffusers alone."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(xl_folder)
    config = {**pipeline.scheduler.config, "clip_sample": False}
    pipeline.scheduler = DDIMScheduler.from_config(config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def latents(n: int = 2, size: int = 8) -> torch.Tensor:
    return torch.randn(n, 4, size, size, generator=torch.Generator().manual_seed(0))


def draw(pipeline: Any, prompt: str, **options: Any) -> Any:
    options = {"guidance_scale": 5.0, "num_inference_steps": 3, "output_type": "pil"} | options
    return pipeline([prompt], generator=[torch.Generator().manual_seed(7)], **options).images


def unet_call(pipeline: Any, prompt: str, **options: Any) -> tuple[tuple, dict]:
    """What the pipeline hands to its U-Net in the first step."""
    calls = []

    def record(_: Any, args: tuple, kwargs: dict) -> None:
        calls.append((args, kwargs))

    hook = pipeline.unet.register_forward_pre_hook(record, with_kwargs=True)
    try:
        draw(pipeline, prompt, guidance_scale=1.0, output_type="latent", **options)
    finally:
        hook.remove()
    return calls[0]


def test_a_pipeline_with_two_text_encoders_is_this_family(backend: StableDiffusionXL) -> None:
    assert type(backend) is StableDiffusionXL
    assert [concept.name for concept in backend.known] == ["blank", "mark"]
    assert len(backend.sites()) == 16
    assert all(weight.shape[1] == D_TEXT for weight in backend.sites().values())
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        network = getattr(backend.pipeline, part)
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_encodes_as_the_pipeline_does(backend: StableDiffusionXL) -> None:
    prompts = ["owl", "", "a very long prompt that is cut"]
    rows = backend.encode(prompts)
    assert rows.shape == (3, TOKENS, D_TEXT)
    assert not rows.requires_grad
    theirs, _, pooled, _ = backend.pipeline.encode_prompt(
        prompts, do_classifier_free_guidance=False
    )
    assert torch.allclose(rows, theirs, atol=1e-6)
    assert torch.allclose(backend.pooled(rows), pooled, atol=1e-6)
    assert torch.equal(backend.encode(["owl"])[0], rows[0])  # whatever it is encoded with
    for half in (rows[..., :D_FIRST], rows[..., D_FIRST:]):
        assert not torch.allclose(half[0], half[1])


@pytest.mark.parametrize("negative", ["", "fig"])
def test_draws_the_images_of_the_plain_pipeline(
    backend: StableDiffusionXL, plain: StableDiffusionXLPipeline, negative: str
) -> None:
    ours = backend.generate(["owl"], seeds=[7], steps=3, negative_prompt=negative)
    theirs = draw(plain, "owl", negative_prompt=[negative] if negative else None)
    assert ours[0].tobytes() == theirs[0].tobytes()
    assert draw(plain, "fig")[0].tobytes() != theirs[0].tobytes(), "the inverse"


def test_an_empty_negative_prompt_is_left_to_the_pipeline(
    backend: StableDiffusionXL, plain: StableDiffusionXLPipeline
) -> None:
    """It guides with zeros or with the blank prompt, as its configuration says."""
    zeros = draw(plain, "owl")
    plain.register_to_config(force_zeros_for_empty_prompt=False)
    blank = draw(plain, "owl")
    assert zeros[0].tobytes() != blank[0].tobytes()
    backend.pipeline.register_to_config(force_zeros_for_empty_prompt=False)
    try:
        (ours,) = backend.generate(["owl"], seeds=[7], steps=3)
    finally:
        backend.pipeline.register_to_config(force_zeros_for_empty_prompt=True)
    assert ours.tobytes() == blank[0].tobytes()


def test_latents_are_scaled_as_the_unet_sees_them(
    backend: StableDiffusionXL, plain: StableDiffusionXLPipeline
) -> None:
    drawn = backend.draw_latents(["owl"], seeds=[7])
    assert drawn.shape == (1, 4, 8, 8)
    assert not drawn.is_inference()
    images = [draw(plain, "owl", num_inference_steps=25)[0]]
    with torch.no_grad():
        decoded, wrong = (plain.vae.decode(drawn / scale).sample for scale in (SCALE, 0.18215))
    show = plain.image_processor.postprocess
    assert (pixels(show(decoded)) - pixels(images)).abs().max() <= 1
    assert (pixels(show(wrong)) - pixels(images)).abs().max() > 1, "the inverse"


@pytest.mark.parametrize("size", [8, 12])
def test_predicts_what_the_pipelines_unet_call_predicts(
    backend: StableDiffusionXL, plain: StableDiffusionXLPipeline, size: int
) -> None:
    args, kwargs = unet_call(plain, "owl", height=2 * size, width=2 * size)
    rows = backend.encode(["owl"])
    ours = backend._condition(args[0], rows)["added_cond_kwargs"]
    theirs = kwargs["added_cond_kwargs"]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert torch.equal(ours["time_ids"], 2.0 * torch.tensor([[size, size, 0, 0, size, size]]))
    with torch.no_grad():
        wanted = plain.unet(*args, **kwargs)[0]
        noise = backend.predict_noise(args[0], args[1].expand(1), rows)
        kwargs["added_cond_kwargs"] = theirs | {"text_embeds": backend.pooled(backend.encode([""]))}
        mixed = plain.unet(*args, **kwargs)[0]
    assert torch.allclose(noise, wanted, atol=1e-6)
    assert not torch.allclose(noise, mixed, atol=1e-4), "the inverse: the pooled part matters"


def test_each_row_of_a_batch_has_its_own_pooled_embedding(backend: StableDiffusionXL) -> None:
    rows = backend.encode(["owl", "fig"])
    with torch.no_grad():
        both = backend.predict_noise(latents(), WHEN, rows)
        alone = [backend.predict_noise(latents()[i : i + 1], WHEN[i], rows[[i]]) for i in range(2)]
    assert torch.allclose(both, torch.cat(alone), atol=1e-6)


@pytest.mark.parametrize(
    ("batch", "order"),
    [
        (lambda rows: rows[torch.tensor([2, 0, 0])], [2, 0, 0]),
        (lambda rows: torch.cat([rows[1:], rows[:1]]), [1, 2, 0]),
        (lambda rows: rows[:1].expand(3, -1, -1), [0, 0, 0]),
        (lambda rows: rows.repeat_interleave(2, dim=0), [0, 0, 1, 1, 2, 2]),
        (lambda rows: torch.stack(list(rows)), [0, 1, 2]),
        (lambda rows: rows.double().float(), [0, 1, 2]),
        (lambda rows: rows.double(), [0, 1, 2]),
        (lambda rows: rows.clone().requires_grad_(), [0, 1, 2]),
        (lambda rows: rows.mT.contiguous().mT, [0, 1, 2]),
    ],
    ids=["index", "cat", "expand", "repeat", "stack", "cast", "wide", "grad", "stride"],
)
def test_a_row_is_known_again(
    backend: StableDiffusionXL, batch: Callable[[torch.Tensor], torch.Tensor], order: list[int]
) -> None:
    rows = backend.encode(["owl", "fig", ""])
    each = torch.cat([backend.pooled(row[None]) for row in rows])
    assert len({tuple(row.tolist()) for row in each}) == 3
    found = backend.pooled(batch(rows))
    assert found.shape == (len(order), D_POOLED)
    assert torch.equal(found.float(), each[order])
    assert not found.requires_grad


def test_any_other_row_gets_the_pooled_embedding_of_the_blank_prompt(
    backend: StableDiffusionXL,
) -> None:
    fresh = StableDiffusionXL(backend.pipeline, Sidecar())  # has encoded nothing, not even blank
    rows = fresh.encode(["owl", "fig"])
    blank = backend.pooled(backend.encode([""]))[0]
    moved = rows.clone()
    moved[1, -1, -1] += 1e-3
    assert torch.equal(fresh.pooled(moved)[1], blank)
    assert torch.equal(fresh.pooled(moved)[0], fresh.pooled(rows)[0])
    assert torch.equal(fresh.pooled(torch.zeros_like(rows)), blank.expand(2, -1))
    assert not torch.equal(fresh.pooled(rows)[1], blank), "the inverse: it is known unmoved"


def test_gradients_reach_embeddings_through_cross_attention(backend: StableDiffusionXL) -> None:
    rows = (backend.encode(["owl", "fig"]) + 0.01).requires_grad_()
    backend.predict_noise(latents(), WHEN, rows).square().mean().backward()
    assert rows.grad is not None
    assert (rows.grad.abs().amax(dim=(1, 2)) > 0).all()
    zero = {site: -weight for site, weight in backend.sites().items()}
    (still,) = torch.autograd.grad(
        backend.predict_noise(latents(), WHEN, rows, deltas=zero).sum(), rows
    )
    assert not still.any(), "nothing passes when cross-attention reads nothing"


def test_the_pooled_path_is_not_edited(xl_model) -> None:
    """Without keys and values two prompts still differ: by their pooled embeddings."""
    rows = xl_model.encode(["owl", "fig"])
    zero = {site: -weight for site, weight in xl_model.sites().items()}
    same, when = latents(1).expand(2, -1, -1, -1), torch.tensor([500, 500])
    with torch.no_grad():
        noise = xl_model.predict_noise(same, when, rows, deltas=zero)
        unnamed = xl_model.predict_noise(same, when, rows + 1e-3, deltas=zero)
    assert not torch.allclose(noise[0], noise[1], atol=1e-4)
    assert torch.allclose(unnamed[0], unnamed[1], atol=1e-6), "the inverse: one pooled for both"


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2"])
def test_the_fingerprint_covers_both_encoders(xl_folder, part: str) -> None:
    model = sepme.load(xl_folder)
    weight = next(iter(getattr(model.pipeline, part).parameters()))
    weight.data[0, 0] += 1
    changed = StableDiffusionXL(model.pipeline, Sidecar()).fingerprint
    weight.data[0, 0] -= 1
    assert changed != model.fingerprint
    assert sepme.load(xl_folder).fingerprint == model.fingerprint


@pytest.mark.parametrize("part", ["tokenizer", "tokenizer_2"])
def test_the_fingerprint_covers_both_tokenizers(xl_folder, part: str) -> None:
    model = sepme.load(xl_folder)
    getattr(model.pipeline, part).add_tokens(["<new>"])
    assert StableDiffusionXL(model.pipeline, Sidecar()).fingerprint != model.fingerprint


def test_a_live_pipeline_stays_itself_and_working(xl_folder) -> None:
    live = StableDiffusionXLPipeline.from_pretrained(xl_folder)
    live.set_progress_bar_config(disable=True)
    scheduler, before = live.scheduler, draw(live, "owl")
    model = sepme.load(live)
    assert live.scheduler is scheduler
    assert model.generate(["owl"], seeds=[7], steps=3)[0].tobytes() == before[0].tobytes()
    model.erase(null_space_shift(model, TINY_CONCEPTS[0]))
    assert draw(live, "owl")[0].tobytes() != before[0].tobytes()
    model.restore(TINY_CONCEPTS[0].name)
    assert draw(live, "owl")[0].tobytes() == before[0].tobytes()


def test_a_loaded_pipeline_samples_without_clipping(backend: StableDiffusionXL) -> None:
    scheduler = backend.pipeline.scheduler
    assert isinstance(scheduler, DDIMScheduler)
    assert not scheduler.config.clip_sample
    assert scheduler.config.timestep_spacing == "leading"


@pytest.mark.parametrize("folder", ["tiny_folder", "xl_folder"])
def test_guidance_is_the_familys_own(request: pytest.FixtureRequest, folder: str) -> None:
    model = sepme.load(request.getfixturevalue(folder))
    expected = {"tiny_folder": 4.0, "xl_folder": 5.0}  # the former says so in its sidecar
    assert model.backend.sidecar.guidance_scale == expected[folder]
    live = sepme.load(model.pipeline).backend.sidecar.guidance_scale
    assert live == {"tiny_folder": 7.5, "xl_folder": 5.0}[folder]


def test_a_refiner_is_refused(xl_folder, tmp_path) -> None:
    parts = dict(StableDiffusionXLPipeline.from_pretrained(xl_folder).components)
    del parts["feature_extractor"], parts["image_encoder"]
    with pytest.raises(BackendError, match="is a refiner; expected the base"):
        sepme.load(StableDiffusionXLImg2ImgPipeline(**parts, requires_aesthetics_score=True))
    alone = {"text_encoder": None, "tokenizer": None}
    refiner = StableDiffusionXLImg2ImgPipeline(**parts | alone, requires_aesthetics_score=True)
    refiner.save_pretrained(tmp_path / "refiner")
    with pytest.raises(BackendError, match=r"has no text_encoder; expected .* base model of SDXL"):
        sepme.load(tmp_path / "refiner")


def test_another_unet_is_refused(xl_folder, tiny_model) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(xl_folder)
    pipeline.unet = tiny_model.pipeline.unet
    with pytest.raises(BackendError, match="U-Net that reads None"):
        sepme.load(pipeline)


def test_attacks_say_that_they_need_one_encoder(backend: StableDiffusionXL) -> None:
    with pytest.raises(SpecError, match="one text encoder"):
        DiffusionSubject.snapshot(backend.pipeline, guidance_scale=5.0)


def test_half_precision(xl_folder) -> None:
    backend = sepme.load(xl_folder, dtype=torch.float16).backend
    rows = backend.encode(["owl", "fig"])
    assert rows.dtype == torch.float16
    assert torch.equal(backend.pooled(rows.double()).half(), backend.pooled(rows))
    assert not torch.equal(backend.pooled(rows)[0], backend.pooled(rows)[1])
    with torch.no_grad():
        assert backend.predict_noise(latents().half(), WHEN, rows).dtype == torch.float16
