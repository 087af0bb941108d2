"""A model seen through another object, which adds to it but answers nothing differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from sepme.backends.stable_diffusion import StableDiffusion
from sepme.core.backend import CROSS_ATTN_KV, Delta
from sepme.core.concept import Concept
from sepme.core.guard import Guard

if TYPE_CHECKING:
    from PIL.Image import Image


class Delegate:
    """A :class:`sepme.core.backend.Backend` that hands every question on.

    All but :meth:`generate` answer for the pristine model, whatever is erased.

    Args:
        backend: The model.
    """

    def __init__(self, backend: StableDiffusion) -> None:
        """Wrap the model."""
        self.backend = backend

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the base model."""
        return self.backend.fingerprint

    @property
    def known(self) -> tuple[Concept, ...]:
        """What every new shift leaves alone."""
        return self.backend.known

    @property
    def presets(self) -> Mapping[str, Mapping[str, object]]:
        """Method name to the hyper-parameters that suit this model."""
        return self.backend.presets

    @property
    def num_train_timesteps(self) -> int:
        """Number of diffusion timesteps the model was trained with."""
        return self.backend.num_train_timesteps

    def sites(self, target_modules: str | Sequence[str] = CROSS_ATTN_KV) -> Mapping[str, Tensor]:
        """Pristine weights of the matching layers."""
        return self.backend.sites(target_modules)

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings ``(n, tokens, d_text)``."""
        return self.backend.encode(prompts)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Diffuse clean latents to the given timesteps."""
        return self.backend.add_noise(latents, noise, timesteps)

    def predict_noise(
        self,
        latents: Tensor,
        timesteps: Tensor,
        prompt_embeds: Tensor,
        *,
        deltas: Mapping[str, Delta] | None = None,
        guards: Sequence[tuple[Guard, float]] = (),
    ) -> Tensor:
        """Noise predicted by the pristine model plus the given changes and guards."""
        return self.backend.predict_noise(
            latents, timesteps, prompt_embeds, deltas=deltas, guards=guards
        )

    def attend(
        self,
        latents: Tensor,
        timesteps: Tensor,
        prompt_embeds: Tensor,
        *,
        deltas: Mapping[str, Delta] | None = None,
    ) -> dict[str, Tensor]:
        """Cross-attention of the pristine model plus the given changes, by layer."""
        return self.backend.attend(latents, timesteps, prompt_embeds, deltas=deltas)

    def draw_latents(self, prompts: Sequence[str], *, seeds: Sequence[int]) -> Tensor:
        """Latents of images the pristine model draws."""
        return self.backend.draw_latents(prompts, seeds=seeds)

    def decode(self, latents: Tensor) -> list[Image]:
        """Images of latents."""
        return self.backend.decode(latents)

    def input_norms(
        self,
        target_modules: str | Sequence[str],
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        steps: int,
        first: int,
    ) -> Mapping[str, Tensor]:
        """Size of what linear layers read, early in the drawing by the pristine model."""
        return self.backend.input_norms(
            target_modules, prompts, seeds=seeds, steps=steps, first=first
        )

    def generate(
        self,
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        steps: int = 25,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
    ) -> list[Image]:
        """Draw one image for each prompt and seed, with the weights as they are.

        Args:
            prompts: ``n`` prompts.
            seeds: ``n`` seeds.
            steps: DDIM steps.
            guidance_scale: Classifier-free guidance; None is the model's own default.
            negative_prompt: What to steer away from.

        Returns:
            ``n`` images.
        """
        return self.backend.generate(
            prompts,
            seeds=seeds,
            steps=steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
        )
