"""A random-weight SD 1.x pipeline of toy size, and shifts in the true null space of a model.

The tiny pipeline has what SD 1.x has (cross-attention in every resolution but one, 1 x 1
projections, an epsilon schedule), so whatever holds by construction can be tested on it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sepme import demo
from sepme.core.backend import Backend
from sepme.core.compose import compose, sites_of
from sepme.core.concept import Concept
from sepme.core.listing import listed
from sepme.core.payload import SiteShift
from sepme.core.shift import ConceptShift, Provenance
from sepme.linalg.null_space import null_space, private_directions
from sepme.pipeline import ErasedPipeline

TOKENS, D_TEXT = 8, 64
TINY_CONCEPTS = tuple(
    Concept(name, (phrase,))
    for name, phrase in {"a": "owl", "b": "fig", "c": "jar", "d": "sky", "e": "pen"}.items()
)


def build_tokenizer(**options: str) -> tuple[CLIPTokenizer, dict[str, int]]:
    """One token a letter, and what a text encoder's configuration says of the vocabulary."""
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    specials = ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={word: i for i, word in enumerate([*words, *specials])},
        merges=[],
        model_max_length=TOKENS,
        **options,
    )
    ends = {"bos_token_id": len(words), "eos_token_id": len(words) + 1}
    return tokenizer, {"vocab_size": len(words) + 2, **ends}


def build_tiny(folder: Path, *, prediction_type: str = "epsilon") -> Path:
    """Write the tiny pipeline as a diffusers directory; the global random state is untouched."""
    tokenizer, ends = build_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = StableDiffusionPipeline(
            vae=AutoencoderKL(
                block_out_channels=(16, 32),
                down_block_types=["DownEncoderBlock2D"] * 2,
                up_block_types=["UpDecoderBlock2D"] * 2,
                layers_per_block=1,
                latent_channels=4,
                norm_num_groups=8,
                sample_size=16,
            ),
            text_encoder=CLIPTextModel(
                CLIPTextConfig(
                    hidden_size=D_TEXT,
                    intermediate_size=96,
                    num_hidden_layers=2,
                    num_attention_heads=4,
                    max_position_embeddings=TOKENS,
                    **ends,
                )
            ),
            tokenizer=tokenizer,
            unet=UNet2DConditionModel(
                sample_size=8,
                block_out_channels=(16, 32),
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
                layers_per_block=1,
                cross_attention_dim=D_TEXT,
                attention_head_dim=4,
                norm_num_groups=8,
            ),
            scheduler=DDIMScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
                prediction_type=prediction_type,
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(folder)
    marks = [Concept("mark", ("#1",), kind="watermark"), Concept("seal", ("@2",), kind="watermark")]
    facts = {"guidance_scale": 4.0, "watermarks": [mark.to_dict() for mark in marks]}
    (folder / "sepme.json").write_text(json.dumps(facts))
    return folder


def null_space_shift(
    model: Backend,
    concept: Concept,
    retain: Sequence[Concept] = (),
    *,
    seed: int = 0,
    size: float = 1.0,
) -> ConceptShift:
    """A random shift that leaves listed prompts alone: no fit, but the same algebra.

    ``size`` is its Frobenius norm at each site, relative to the weight's.
    """
    others = listed(model, concept, [c for c in retain if c.name != concept.name])
    space = null_space(model.encode([p for other in others for p in other.prompts]))
    directions = private_directions(model.encode(concept.prompts), space).float()
    draw = torch.Generator().manual_seed(seed)
    factors = {}
    for site, weight in model.sites().items():
        factor = torch.randn(len(weight), len(directions), generator=draw)
        factors[site] = size * factor * (weight.norm() / factor.norm())
    return ConceptShift(
        concepts=(concept,),
        payload=SiteShift(directions, factors),
        decoupled_from=tuple(other.name for other in others),
        separable=True,
        provenance=Provenance(model.fingerprint, "sepme", {}, seed, {"sepme": "0"}),
    )


def null_space_shifts(
    model: Backend, concepts: Sequence[Concept], *, size: float = 1.0
) -> list[ConceptShift]:
    """One random shift for each concept, decoupled from the others."""
    return [
        null_space_shift(model, concept, concepts, seed=seed, size=size)
        for seed, concept in enumerate(concepts)
    ]


def concepts_of(model: Backend, n: int = 5) -> list[Concept]:
    """Concepts to erase from the tiny or the demo model."""
    if model.encode([""]).shape[-1] == D_TEXT:
        return list(TINY_CONCEPTS[:n])
    styles, things = (
        [concept for concept in demo.concepts() if concept.kind == kind]
        for kind in ("style", "object")
    )
    return [*styles[: n - n // 2], *things[: n // 2]]


def noise_of(
    model: ErasedPipeline, prompts: Sequence[str], shifts: Sequence[ConceptShift]
) -> torch.Tensor:
    """Noise predicted for each prompt, on fixed latents, with the shifts in force."""
    size = model.pipeline.unet.config
    shape = (size.in_channels, size.sample_size, size.sample_size)
    latents = torch.randn(len(prompts), *shape, generator=torch.Generator().manual_seed(1))
    timesteps = torch.linspace(50, 900, len(prompts)).long()
    sites = sites_of(model, shifts)
    live = compose(sites, [(shift, 1.0) for shift in shifts])
    deltas = {site: live[site] - weight for site, weight in sites.items()}
    with torch.no_grad():
        return model.predict_noise(latents, timesteps, model.encode(prompts), deltas=deltas)


def pixels(images: Sequence) -> torch.Tensor:
    """Images as integers, ``(n, height, width, 3)``."""
    return torch.from_numpy(np.stack([np.asarray(image) for image in images]).astype("int16"))
