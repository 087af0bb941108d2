"""A Stable Diffusion pipeline as an attacker who holds it sees it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sepme.core.attack import Sampling
from sepme.errors import SpecError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class DiffusionSubject:
    """The parts of a pipeline behind :class:`sepme.core.attack.Subject`.

    Attributes:
        pipeline: The pipeline whose text encoder, autoencoder and schedule are used; a DDIM
            schedule with epsilon prediction.
        unet: The noise predictor.
        guidance_scale: Classifier-free guidance.
    """

    pipeline: Any
    unet: nn.Module
    guidance_scale: float

    @classmethod
    def snapshot(cls, pipeline: Any, *, guidance_scale: float) -> DiffusionSubject:  # noqa: ANN401
        """A subject with its own copy of the weights as they are now.

        Args:
            pipeline: A ``StableDiffusionPipeline``.
            guidance_scale: Classifier-free guidance.

        Returns:
            The subject.

        Raises:
            SpecError: If the model does not predict epsilon or has two text encoders.
        """
        if getattr(pipeline, "text_encoder_2", None) is not None:
            raise SpecError("attacks need a model with one text encoder; this one has two (SDXL).")
        predicts = pipeline.scheduler.config.get("prediction_type", "epsilon")
        if predicts != "epsilon":
            raise SpecError(f"attacks need a model that predicts epsilon, got {predicts!r}.")
        return cls(pipeline, copy.deepcopy(pipeline.unet), guidance_scale)

    def with_unet(self, unet: nn.Module) -> DiffusionSubject:
        """The same model with another noise predictor."""
        return DiffusionSubject(self.pipeline, unet, self.guidance_scale)

    @property
    def alphas_cumprod(self) -> Tensor:
        """Share of the signal in the square of ``x_t``."""
        alphas: Tensor = self.pipeline.scheduler.alphas_cumprod
        return alphas

    @property
    def token_table(self) -> Tensor:
        """Embedding of every token."""
        return self._embedding.weight.detach()

    @property
    def _embedding(self) -> nn.Embedding:
        table: nn.Embedding = self.pipeline.text_encoder.get_input_embeddings()
        return table

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Token ids, with start, end and padding."""
        tokenizer = self.pipeline.tokenizer
        ids: Tensor = tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids
        return ids

    def words(self, ids: Tensor) -> list[str]:
        """Prompts that read like the given tokens."""
        return [self.pipeline.tokenizer.decode(row, skip_special_tokens=True) for row in ids]

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings, one prompt at a time as everywhere."""
        encoder = self.pipeline.text_encoder
        return torch.cat([encoder(self.tokenize([prompt]))[0] for prompt in prompts])

    def encode_tokens(self, embeds: Tensor) -> Tensor:
        """Text embeddings of token embeddings."""
        hook = self._embedding.register_forward_hook(lambda *_: embeds)
        try:
            rows: Tensor = self.pipeline.text_encoder(
                torch.zeros(embeds.shape[:2], dtype=torch.long)
            )[0]
        finally:
            hook.remove()
        return rows

    def predict_noise(self, latents: Tensor, timesteps: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Noise the model predicts, without guidance."""
        noise: Tensor = self.unet(latents, timesteps, prompt_embeds, return_dict=False)[0]
        return noise

    def timesteps(self, steps: int) -> list[int]:
        """Timesteps of a run of the sampler, as diffusers spaces them ("leading")."""
        config = self.pipeline.scheduler.config
        apart = config.num_train_timesteps // steps
        return [i * apart + config.get("steps_offset", 0) for i in reversed(range(steps))]

    def start_latents(self, seeds: Sequence[int]) -> Tensor:
        """The noise each seed starts from, that of the pipeline itself."""
        size = self.pipeline.unet.config.sample_size
        shape = (1, self.pipeline.unet.config.in_channels, size, size)
        draws = [
            torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds
        ]
        return torch.cat(draws)

    def sample(self, prompt_embeds: Tensor, latents: Tensor, how: Sampling | None = None) -> Tensor:
        """Run the DDIM sampler, or a part of it."""
        how = how or Sampling()
        times = self.timesteps(how.steps)
        blank = how.blank_embeds or [self.encode([""])] * how.steps
        scale = self.guidance_scale if how.guidance_scale is None else how.guidance_scale
        for i in range(how.start, len(times) if how.stop is None else how.stop):
            now, then = times[i], times[i + 1] if i + 1 < len(times) else -1
            t = torch.full((len(latents),), now)
            noise = self._guided(latents, t, prompt_embeds, blank[i], scale)
            noise = noise if how.noise is None else how.noise(latents, t, noise)
            latents = self._ddim(latents, noise, now, then, how)
            latents = latents if how.after is None else how.after(latents, max(then, 0))
        return latents

    def _guided(
        self, latents: Tensor, t: Tensor, prompt: Tensor, blank: Tensor, scale: float
    ) -> Tensor:
        if scale == 1:
            return self.predict_noise(latents, t, prompt)
        rows = torch.cat([blank.expand_as(prompt), prompt])
        both = self.predict_noise(torch.cat([latents, latents]), torch.cat([t, t]), rows)
        without, with_prompt = both.chunk(2)
        return without + scale * (with_prompt - without)

    def _ddim(self, latents: Tensor, noise: Tensor, now: int, then: int, how: Sampling) -> Tensor:
        """One step (Song et al., 2021, eq. 12)."""
        kept = self.alphas_cumprod[now]
        last: Tensor = self.pipeline.scheduler.final_alpha_cumprod
        alpha = self.alphas_cumprod[then] if then >= 0 else last
        clean = (latents - (1 - kept).sqrt() * noise) / kept.sqrt()
        sigma = how.eta * ((1 - alpha) / (1 - kept) * (1 - kept / alpha)).sqrt()
        step: Tensor = alpha.sqrt() * clean + (1 - alpha - sigma**2).clamp(min=0).sqrt() * noise
        if not how.eta:
            return step
        return step + sigma * torch.randn(latents.shape, generator=how.generator)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image]:
        """Images of latents."""
        vae = self.pipeline.vae
        pixels = vae.decode(latents / vae.config.scaling_factor).sample
        images: list[Image] = self.pipeline.image_processor.postprocess(pixels.detach())
        return images

    @torch.no_grad()
    def encode_images(self, images: Sequence[Image]) -> Tensor:
        """Latents of images, the mean of the autoencoder's distribution."""
        vae = self.pipeline.vae
        arrays = np.stack([np.asarray(image.convert("RGB"), np.float32) for image in images])
        pixels = torch.from_numpy(arrays).permute(0, 3, 1, 2) / 127.5 - 1
        means: Tensor = vae.encode(pixels).latent_dist.mean
        return means * float(vae.config.scaling_factor)
