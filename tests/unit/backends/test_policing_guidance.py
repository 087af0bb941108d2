"""Whether a batch is guided the pipeline says that draws it: its number of rows may mislead."""

from typing import Any

import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline

from sepme.errors import BackendError
from sepme.pipeline import ErasedPipeline
from tests.policies import FIG, OWL, held, noise, shift_of

GUIDED, PLAIN = {"guidance_scale": 7.5}, {"guidance_scale": 1.0}


@pytest.fixture
def holding(tiny_model: ErasedPipeline) -> ErasedPipeline:
    """The tiny pipeline, whose ledger knows two concepts and has none in force."""
    held(tiny_model, shift_of("site", tiny_model, OWL), shift_of("text", tiny_model, FIG))
    return tiny_model


def drawn(model: ErasedPipeline, *prompts: str, images: int = 1, **more: Any) -> torch.Tensor:
    """Latents that the unmodified pipeline draws, all from one seed, so that rows begin equal."""
    return model.pipeline(
        list(prompts),
        generator=[torch.Generator().manual_seed(0) for _ in range(len(prompts) * images)],
        num_inference_steps=2,
        num_images_per_prompt=images,
        output_type="latent",
        **more,
    ).images


@pytest.mark.parametrize(
    ("sets", "prompts", "images", "guidance", "says"),
    [
        ([{"a"}, set()], ["owl"], 1, GUIDED, "2 rows, or 4 .* got 2 under guidance"),
        ([{"a"}, {"b"}, set(), set()], ["owl", "fig"], 1, GUIDED, "got 4 under guidance"),
        ([{"a"}, set(), {"b"}, set()], ["owl"], 2, GUIDED, "got 4 under guidance"),
        ([{"a"}], ["owl", "fig"], 1, PLAIN, "1 rows, or 2 .* got 2 without guidance"),
        ([{"a"}, set()], ["owl", "fig"], 2, PLAIN, "got 4 without guidance"),
    ],
)
def test_a_batch_of_the_other_kind_is_refused(
    holding: ErasedPipeline, sets, prompts, images, guidance, says
) -> None:
    with holding.policies(sets):
        with pytest.raises(BackendError, match=says) as caught:
            drawn(holding, *prompts, images=images, **guidance)
        fitting = drawn(holding, *["owl"] * len(sets), **guidance)  # inverse check
    assert len(fitting) == len(sets)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("guidance", [GUIDED, PLAIN], ids=["guided", "plain"])
@pytest.mark.parametrize("images", [1, 2])
def test_a_batch_that_fits_is_drawn(holding: ErasedPipeline, guidance, images: int) -> None:
    plain = drawn(holding, "owl", "owl", images=images, **guidance)
    with holding.policies([{"a"}, set()], images_per_prompt=images):
        found = drawn(holding, "owl", "owl", images=images, **guidance)
    assert torch.equal(found[images:], plain[images:])
    assert not any(torch.equal(*rows) for rows in zip(found[:images], plain[:images], strict=True))


def test_other_families(family: ErasedPipeline) -> None:
    held(family, shift_of("site", family, OWL))
    with family.policies([{"a"}, set()]):
        with pytest.raises(BackendError, match="got 2 under guidance"):
            drawn(family, "owl", **GUIDED)
        assert len(drawn(family, "owl", "fig", **GUIDED)) == 2


def test_a_second_pipeline_of_the_network_is_asked_itself(holding: ErasedPipeline) -> None:
    second = StableDiffusionImg2ImgPipeline(
        **holding.pipeline.components, requires_safety_checker=False
    )
    more = {"num_inference_steps": 2, "strength": 1.0, "output_type": "latent", **GUIDED}
    with holding.policies([{"a"}, set()]):
        drawn(holding, "owl", "fig", **PLAIN)  # what the first one says is another thing
        with pytest.raises(BackendError, match="got 2 under guidance"):
            second("owl", image=torch.zeros(1, 3, 16, 16), **more)
        assert len(second(["owl", "fig"], image=torch.zeros(2, 3, 16, 16), **more).images) == 2


@torch.no_grad()
def test_a_drawing_that_is_over_says_nothing(holding: ErasedPipeline) -> None:
    """Direct calls go by their number of rows, although the pipeline keeps its last guidance."""
    latents, embeds = torch.ones(2, 4, 8, 8), holding.encode(["owl", "fig"])
    with holding.policies([{"a"}, set()]):
        drawn(holding, "owl", "fig", **GUIDED)
        assert holding.pipeline.do_classifier_free_guidance
        assert len(holding.pipeline.unet(latents, 500, embeds).sample) == 2
        drawn(holding, "owl", "fig", **PLAIN)
        assert not holding.pipeline.do_classifier_free_guidance
        assert len(noise(holding, ("owl", "fig"), guided=True)) == 4


def test_guidance_may_end_in_the_middle(holding: ErasedPipeline) -> None:
    """As diffusers' own guide to callbacks does it."""

    def cut(pipeline: Any, step: int, timestep: int, given: dict[str, Any]) -> dict[str, Any]:
        pipeline._guidance_scale = 0.0
        return {"prompt_embeds": given["prompt_embeds"].chunk(2)[-1]}

    more = {
        "callback_on_step_end": cut,
        "callback_on_step_end_tensor_inputs": ["prompt_embeds"],
        **GUIDED,
    }
    plain = drawn(holding, "owl", "owl", **more)
    with holding.policies([{"a"}, set()]):
        found = drawn(holding, "owl", "owl", **more)
    assert torch.equal(found[1], plain[1])
    assert not torch.equal(found[0], plain[0])
