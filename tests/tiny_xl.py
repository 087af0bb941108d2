"""A random-weight SDXL pipeline of toy size, as wide in text as the tiny SD 1.x pipeline.

It has what sets SDXL apart: a second text encoder with a projection, whose tokenizer pads with
another token, a U-Net that reads pooled embeddings and sizes, no attention at full resolution,
linear projections, several transformer blocks in a row, and an Euler scheduler.
"""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.tiny import D_TEXT, TOKENS, build_tokenizer

D_FIRST, D_POOLED, D_SIZES = 24, 16, 8


def build_tiny_xl(folder: Path, *, prediction_type: str = "epsilon") -> Path:
    """Write the tiny pipeline as a diffusers directory; the global random state is untouched."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = StableDiffusionXLPipeline(
            vae=AutoencoderKL(
                block_out_channels=(16, 32),
                down_block_types=["DownEncoderBlock2D"] * 2,
                up_block_types=["UpDecoderBlock2D"] * 2,
                layers_per_block=1,
                latent_channels=4,
                norm_num_groups=8,
                sample_size=16,
                scaling_factor=0.13025,
            ),
            text_encoder=CLIPTextModel(text_config(D_FIRST)),
            text_encoder_2=CLIPTextModelWithProjection(
                text_config(D_TEXT - D_FIRST, projection_dim=D_POOLED, hidden_act="gelu")
            ),
            tokenizer=build_tokenizer()[0],
            tokenizer_2=build_tokenizer(pad_token="!")[0],
            unet=UNet2DConditionModel(
                sample_size=8,
                block_out_channels=(16, 32),
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                layers_per_block=1,
                transformer_layers_per_block=(1, 2),
                cross_attention_dim=D_TEXT,
                attention_head_dim=(2, 4),
                norm_num_groups=8,
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=D_SIZES,
                projection_class_embeddings_input_dim=D_POOLED + 6 * D_SIZES,
            ),
            scheduler=EulerDiscreteScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                steps_offset=1,
                timestep_spacing="leading",
                prediction_type=prediction_type,
            ),
            add_watermarker=False,
        )
    pipeline.save_pretrained(folder)
    mark = {"name": "mark", "prompts": ["#1"], "anchor": "", "kind": "watermark"}
    (folder / "sepme.json").write_text(json.dumps({"watermarks": [mark]}))
    return folder


def text_config(width: int, **options: object) -> CLIPTextConfig:
    """Configuration of a toy text encoder."""
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        **build_tokenizer()[1],
        **options,
    )
