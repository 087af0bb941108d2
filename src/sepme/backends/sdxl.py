"""Stable Diffusion XL: two text encoders, and a pooled embedding beside cross-attention."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from sepme.backends.sidecar import Sidecar
from sepme.backends.stable_diffusion import StableDiffusion
from sepme.errors import BackendError


class StableDiffusionXL(StableDiffusion):
    """A diffusers ``StableDiffusionXLPipeline`` seen through :class:`sepme.core.backend.Backend`.

    Text embeddings are the penultimate hidden states of both encoders side by side; the text sites
    read all of them. The U-Net also reads the pooled embedding of the second encoder, beside the
    time embedding: no shift changes that path.

    A text embedding does not contain the pooled one, so `encode` remembers it under the bytes of
    the embedding. Rows that `encode` has returned are known again however a batch of them was
    indexed, expanded, concatenated or cast to a wider type. Any other row, such as an optimised
    one, gets the pooled embedding of the blank prompt; gradients with respect to embeddings pass
    through cross-attention alone.

    Args:
        pipeline: The live pipeline of a base model.
        sidecar: What the model's author tells sepme about it.

    Raises:
        BackendError: If the pipeline is not of this family, or has adapters loaded.
    """

    guidance_scale: ClassVar[float] = 5.0
    """Classifier-free guidance of the family, where a sidecar names none."""

    _ENCODERS: ClassVar[Mapping[str, str]] = {
        "text_encoder": "tokenizer",
        "text_encoder_2": "tokenizer_2",
    }

    def __init__(self, pipeline: Any, sidecar: Sidecar) -> None:  # noqa: ANN401 (diffusers' own)
        super().__init__(pipeline, sidecar)
        _check_base(pipeline)
        self._remembered: dict[bytes, Tensor] = {}  # 5 kB a prompt, so none is ever dropped

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings ``(n, tokens, d_text)`` of both encoders, as the pipeline itself encodes.

        One prompt at a time, so that an embedding does not depend on its neighbours.
        """
        rows = []
        for prompt in prompts:
            embeds, _, pooled, _ = self.pipeline.encode_prompt(
                prompt, device=self.pipeline.unet.device, do_classifier_free_guidance=False
            )
            self._remembered[self._key(embeds[0])] = pooled[0].cpu()
            rows.append(embeds)
        return torch.cat(rows)

    def pooled(self, prompt_embeds: Tensor) -> Tensor:
        """Pooled embeddings of the prompts that gave these text embeddings.

        Args:
            prompt_embeds: ``(n, tokens, d_text)``.

        Returns:
            ``(n, d_pooled)``, without a gradient; that of the blank prompt for each row that
            `encode` has not returned.
        """
        keys = [self._key(row) for row in prompt_embeds.detach()]
        if not all(key in self._remembered for key in keys):
            blank = self._key(self.encode([""])[0])
            keys = [key if key in self._remembered else blank for key in keys]
        return torch.stack([self._remembered[key] for key in keys]).to(prompt_embeds)

    def _key(self, row: Tensor) -> bytes:
        exact = row.to("cpu", self.pipeline.text_encoder_2.dtype) + 0.0  # -0.0 is 0.0
        content = exact.contiguous().view(torch.uint8).numpy().tobytes()
        return hashlib.blake2b(content, digest_size=16).digest()

    def _condition(self, latents: Tensor, prompt_embeds: Tensor) -> dict[str, Any]:
        """The pooled embeddings, and sizes: an uncropped image as large as the latents say."""
        scale = self.pipeline.vae_scale_factor
        size = [side * scale for side in latents.shape[-2:]]
        sizes = torch.tensor([[*size, 0, 0, *size]]).to(prompt_embeds)
        condition = {
            "text_embeds": self.pooled(prompt_embeds),
            "time_ids": sizes.expand(len(latents), -1),
        }
        return {"added_cond_kwargs": condition}


def _check_base(pipeline: Any) -> None:  # noqa: ANN401 (diffusers' own)
    kind = pipeline.unet.config.get("addition_embed_type")
    if kind != "text_time" or pipeline.config.get("requires_aesthetics_score"):
        why = "is a refiner" if kind == "text_time" else f"has a U-Net that reads {kind!r}"
        raise BackendError(
            f"got {type(pipeline).__name__}, which {why}; expected the base model of SDXL."
        )
