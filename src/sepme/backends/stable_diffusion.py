"""Stable Diffusion with a U-Net and one text encoder: SD 1.x, SD 2.x, and the demo model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from diffusers import DDIMScheduler
from torch import Tensor
from torch.func import functional_call

from sepme.backends.attention import attention_maps
from sepme.backends.live import LiveUNet
from sepme.backends.recording import InputNorms
from sepme.backends.sidecar import Sidecar
from sepme.core.backend import Delta
from sepme.core.concept import Concept
from sepme.core.fingerprint import fingerprint
from sepme.core.guard import Guard
from sepme.core.record import canonical_json
from sepme.errors import BackendError
from sepme.linalg.low_rank import LowRank

IMAGES_AT_ONCE = 16
"""Images of one denoising batch. The size is fixed, so the images of a full chunk do not depend on
what was asked for besides them; a last, smaller chunk may differ in the last bits."""

_PREDICTIONS = ("epsilon", "v_prediction")


class StableDiffusion(LiveUNet):
    """A diffusers ``StableDiffusionPipeline`` seen through :class:`sepme.core.backend.Backend`.

    Everything but the pristine copies is the pipeline's own, and stays usable with any diffusers
    code. Methods that speak of the pristine model hold whatever the live weights are. The networks
    are switched to evaluation and need no gradients from here on.

    Args:
        pipeline: The live pipeline; its U-Net's weights are what sepme changes.
        sidecar: What the model's author tells sepme about it.

    Raises:
        BackendError: If the pipeline is not of this family, or has adapters loaded.
    """

    guidance_scale: ClassVar[float] = 7.5
    """Classifier-free guidance of the family, where a sidecar names none."""

    _ENCODERS: ClassVar[Mapping[str, str]] = {"text_encoder": "tokenizer"}

    def __init__(self, pipeline: Any, sidecar: Sidecar) -> None:  # noqa: ANN401 (diffusers' own)
        _check_family(pipeline, self._ENCODERS)
        super().__init__(pipeline.unet)
        self.pipeline = pipeline
        self.sidecar = sidecar
        # The live scheduler is the user's to change; training needs the plain diffusion process.
        self._process = DDIMScheduler.from_config(pipeline.scheduler.config)
        for part in ("unet", "vae", *self._ENCODERS):
            getattr(pipeline, part).requires_grad_(False).eval()

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of the text sites, the text encoders and the tokenizers."""
        weights = [
            (f"{encoder}.{k}", v)
            for encoder in self._ENCODERS
            for k, v in getattr(self.pipeline, encoder).state_dict().items()
            if v.is_floating_point()
        ]
        weights += [(f"unet.{k}", v) for k, v in self._pristine.text.items()]
        return fingerprint(weights, {t: self._rules(t) for t in self._ENCODERS.values()})

    def _rules(self, name: str) -> str:
        tokenizer = getattr(self.pipeline, name)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        rules = json.loads(backend.to_str()) if backend else {"vocab": tokenizer.get_vocab()}
        for leftover in ("padding", "truncation"):  # of the last call, not of the tokenizer
            rules.pop(leftover, None)
        return canonical_json([tokenizer.model_max_length, rules])

    @property
    def presets(self) -> Mapping[str, Mapping[str, object]]:
        """Method name to the hyper-parameters that suit this model."""
        return self.sidecar.presets

    @property
    def known(self) -> tuple[Concept, ...]:
        """The blank prompt and the watermark prompts the sidecar names."""
        return self.sidecar.known

    @property
    def num_train_timesteps(self) -> int:
        """Number of diffusion timesteps the model was trained with."""
        return int(self._process.config.num_train_timesteps)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings ``(n, tokens, d_text)``, as the pipeline itself encodes.

        One prompt at a time, so that an embedding does not depend on its neighbours.
        """
        encoder, tokenizer = self.pipeline.text_encoder, self.pipeline.tokenizer
        rows = []
        for prompt in prompts:
            tokens = tokenizer(
                prompt,
                padding="max_length",
                truncation=True,
                max_length=tokenizer.model_max_length,
                return_tensors="pt",
            )
            rows.append(encoder(tokens.input_ids.to(encoder.device))[0])
        return torch.cat(rows)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Diffuse clean latents to the given timesteps."""
        noised: Tensor = self._process.add_noise(latents, noise, timesteps)
        return noised

    def predict_noise(
        self,
        latents: Tensor,
        timesteps: Tensor,
        prompt_embeds: Tensor,
        *,
        deltas: Mapping[str, Delta] | None = None,
        guards: Sequence[tuple[Guard, float]] = (),
    ) -> Tensor:
        """Noise predicted by pristine weights plus ``deltas``, under the given guards alone.

        Deltas may be wider than the weights: the sum is rounded once, as `compose` does.
        """
        self._follow_device()
        weights = dict(self._pristine)
        for site, delta in (deltas or {}).items():
            change = delta.left @ delta.right if isinstance(delta, LowRank) else delta
            weight = self._pristine.original(site)
            weights[site] = (weight + change).to(weight.dtype)
        with self._guarding.instead(guards):
            output: Tensor = functional_call(
                self.pipeline.unet,
                {f"{site}.weight": weight for site, weight in weights.items()},
                (latents, timesteps),
                {
                    "encoder_hidden_states": prompt_embeds,
                    "return_dict": False,
                    **self._condition(latents, prompt_embeds),
                },
            )[0]
        if self._process.config.prediction_type == "epsilon":
            return output
        alpha: Tensor = self._process.alphas_cumprod.to(latents.device)[timesteps]
        signal, noise = (a.sqrt().to(output).view(-1, 1, 1, 1) for a in (alpha, 1 - alpha))
        return signal * output + noise * latents

    def _condition(self, latents: Tensor, prompt_embeds: Tensor) -> dict[str, Any]:
        """What the U-Net is told besides latents, timesteps and text embeddings."""
        return {}

    def attend(
        self,
        latents: Tensor,
        timesteps: Tensor,
        prompt_embeds: Tensor,
        *,
        deltas: Mapping[str, Delta] | None = None,
    ) -> dict[str, Tensor]:
        """Cross-attention of pristine weights plus ``deltas``, by layer; differentiable in them."""
        with attention_maps(self.pipeline.unet) as maps:
            self.predict_noise(latents, timesteps, prompt_embeds, deltas=deltas)
        return maps

    def draw_latents(self, prompts: Sequence[str], *, seeds: Sequence[int]) -> Tensor:
        """Latents of images the pristine model draws, scaled as the U-Net sees them."""
        with self.pristine():
            return torch.cat(list(self._run(prompts, seeds, output_type="latent")))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Any]:
        """Images of latents, decoded like those of the pipeline."""
        vae, images = self.pipeline.vae, self.pipeline.image_processor
        chunks = torch.split(latents.to(vae.dtype), IMAGES_AT_ONCE)
        decoded = [vae.decode(chunk / vae.config.scaling_factor).sample for chunk in chunks]
        return [image for chunk in decoded for image in images.postprocess(chunk)]

    def input_norms(
        self,
        target_modules: str | Sequence[str],
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        steps: int,
        first: int,
    ) -> dict[str, Tensor]:
        """Size of what linear layers read in the first steps of drawing, by module path."""
        norms = InputNorms(self.pipeline, tuple(self.sites(target_modules)), first=first)
        with self.pristine(), norms.watching():
            for _ in self._run(prompts, seeds, num_inference_steps=steps, output_type="latent"):
                norms.next_image()
        return norms.found()

    def generate(
        self,
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        steps: int = 25,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
    ) -> list[Any]:
        """Draw one image for each prompt and seed with the live weights."""
        chunks = self._run(
            prompts,
            seeds,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
        )
        return [image for chunk in chunks for image in chunk]

    def _run(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        num_inference_steps: int = 25,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        output_type: str = "pil",
    ) -> Iterator[Any]:
        if len(prompts) != len(seeds):
            raise BackendError(
                f"got {len(prompts)} prompts and {len(seeds)} seeds; expected one seed per prompt."
            )
        scale = self.sidecar.guidance_scale if guidance_scale is None else guidance_scale
        for start in range(0, len(prompts), IMAGES_AT_ONCE):
            chunk = slice(start, start + IMAGES_AT_ONCE)
            drawn = list(prompts[chunk])
            yield self.pipeline(
                drawn,
                generator=[torch.Generator().manual_seed(seed) for seed in seeds[chunk]],
                num_inference_steps=num_inference_steps,
                guidance_scale=scale,
                negative_prompt=[negative_prompt] * len(drawn) if negative_prompt else None,
                output_type=output_type,
            ).images


def _check_family(pipeline: Any, encoders: Mapping[str, str]) -> None:  # noqa: ANN401 (anything)
    name = type(pipeline).__name__
    parts = ("unet", *encoders, *encoders.values(), "vae", "scheduler")
    missing = [part for part in parts if getattr(pipeline, part, None) is None]
    second = "text_encoder_2"
    if missing or (second not in encoders and getattr(pipeline, second, None) is not None):
        why = f"has no {missing[0]}" if missing else "has two text encoders"
        raise BackendError(
            f"got {name}, which {why}; expected a Stable Diffusion pipeline (SD 1.x, 2.x or the "
            "base model of SDXL)."
        )
    predicts = pipeline.scheduler.config.get("prediction_type", "epsilon")
    if predicts not in _PREDICTIONS:
        raise BackendError(f"{name} predicts {predicts!r}; expected one of {_PREDICTIONS}.")
