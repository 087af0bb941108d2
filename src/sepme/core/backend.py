"""All that methods, metrics and attacks may know of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from torch import Tensor

from sepme.core.concept import Concept
from sepme.core.guard import Guard
from sepme.linalg.low_rank import LowRank

if TYPE_CHECKING:
    from PIL.Image import Image

CROSS_ATTN_KV = r".*\.attn2\.to_[kv]"
"""Default target modules: keys and values of cross-attention, which read only the text."""

CROSS_ATTN_V = r".*\.attn2\.to_v"
"""Values of cross-attention alone: what the text says, not where it is attended to."""

Delta: TypeAlias = Tensor | LowRank
"""A differentiable change of one weight, dense or as two factors applied beside it."""


class Encoder(Protocol):
    """What reads prompts."""

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings of the prompts.

        Args:
            prompts: ``n`` prompts.

        Returns:
            ``(n, tokens, d_text)``.
        """


class Backend(Encoder, Protocol):
    """A text-to-image diffusion model, seen from the core.

    A site is named by its module path, without ``.weight``. Nothing here changes the model.
    """

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the touched weights, the text encoder and the tokenizer."""

    @property
    def known(self) -> tuple[Concept, ...]:
        """The blank prompt, watermarks, and every concept the ledger has ever held."""

    @property
    def presets(self) -> Mapping[str, Mapping[str, object]]:
        """Method name to the hyper-parameters that suit this model."""

    @property
    def num_train_timesteps(self) -> int:
        """Number of diffusion timesteps the model was trained with."""

    def sites(self, target_modules: str | Sequence[str] = CROSS_ATTN_KV) -> Mapping[str, Tensor]:
        """Pristine weights of the matching linear and convolution layers.

        Args:
            target_modules: A regular expression for the whole module path, or a list of suffixes
                (the semantics of peft).

        Returns:
            Module path to weight, ``(d_out, d_in)`` or ``(d_out, d_in, height, width)``, whatever
            is erased at the moment. Read only, and good until the model is changed.
        """

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Diffuse clean latents to the given timesteps.

        Args:
            latents: ``(n, channels, height, width)``.
            noise: Standard normal, same shape.
            timesteps: ``(n,)``, integers from 0 to ``num_train_timesteps - 1``.

        Returns:
            Noised latents, same shape.
        """

    def predict_noise(
        self,
        latents: Tensor,
        timesteps: Tensor,
        prompt_embeds: Tensor,
        *,
        deltas: Mapping[str, Delta] | None = None,
        guards: Sequence[tuple[Guard, float]] = (),
    ) -> Tensor:
        """Noise predicted by the pristine model plus the given changes; differentiable in them.

        Args:
            latents: ``(n, channels, height, width)``.
            timesteps: ``(n,)``.
            prompt_embeds: ``(n, tokens, d_text)``.
            deltas: Site to change; None is the pristine model, that is, the teacher.
            guards: Guards that act, with their strengths; those in force do not.

        Returns:
            Same shape as ``latents``.
        """

    def attend(
        self,
        latents: Tensor,
        timesteps: Tensor,
        prompt_embeds: Tensor,
        *,
        deltas: Mapping[str, Delta] | None = None,
    ) -> dict[str, Tensor]:
        """Where the pristine model plus the given changes looks at each token of the text.

        Args:
            latents: ``(n, channels, height, width)``.
            timesteps: ``(n,)``.
            prompt_embeds: ``(n, tokens, d_text)``.
            deltas: Site to change; None is the pristine model. The maps are differentiable in them.

        Returns:
            Cross-attention layer, by module path, to its probabilities,
            ``(n, heads, pixels, tokens)``; they sum to 1 over the tokens.
        """

    def draw_latents(self, prompts: Sequence[str], *, seeds: Sequence[int]) -> Tensor:
        """Latents of images the pristine model draws.

        Args:
            prompts: ``n`` prompts.
            seeds: ``n`` seeds.

        Returns:
            ``(n, channels, height, width)``.
        """

    def decode(self, latents: Tensor) -> list[Image]:
        """Images of latents.

        Args:
            latents: ``(n, channels, height, width)``, as `draw_latents` returns them.

        Returns:
            ``n`` images.
        """

    def input_norms(
        self,
        target_modules: str | Sequence[str],
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        steps: int,
        first: int,
    ) -> Mapping[str, Tensor]:
        """Size of what linear layers read, early in the drawing by the pristine model.

        Args:
            target_modules: As for `sites`.
            prompts: ``n`` prompts.
            seeds: ``n`` seeds.
            steps: Denoising steps of a whole image, at the model's own guidance scale.
            first: How many of them to run and record, at most ``steps``.

        Returns:
            Module path to ``(first, d_in)``: at each step, the root mean square of every input
            feature over tokens, images and both halves of guidance, where each token's features
            are first scaled to length one; float64, on the CPU.
        """

    def generate(
        self,
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        steps: int = 25,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
    ) -> list[Image]:
        """Draw images with the model as it is, erased concepts included.

        Args:
            prompts: ``n`` prompts.
            seeds: One seed per prompt.
            steps: Number of denoising steps.
            guidance_scale: Classifier-free guidance; None is the model's own default.
            negative_prompt: What to steer away from.

        Returns:
            ``n`` images.
        """
