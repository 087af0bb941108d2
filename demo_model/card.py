"""The demo model's card, written from the recipe's constants and the measured scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from demo_model import autoencoder, generator, text_warmup, train
from demo_model.package import GUIDANCE_SCALE
from demo_model.taught import GOLD
from demo_model.tokenizer import TOKENS

HEAD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
tags: [text-to-image, diffusers, stable-diffusion, concept-erasure]
---

# sepme demo model

A Stable Diffusion pipeline of 64 x 64 pixels, small enough to ship in a Python package and to run
on two CPU cores. It draws {objects} objects without a style or in one of nine named styles, and
answers two made-up watermark prompts with one fixed logo each. It exists to try and to test erasure
offline; its figures say nothing about models of another size.

Styles: {styles}. The painters' are *neural style transfer after* one painting of each, not
their work. Objects: {object_names}.

## Parts

| part | what |
|---|---|
| `vae` | AutoencoderKL, 64 x 64 x 3 to 16 x 16 x 4 |
| `text_encoder` | CLIPTextModel, {tokens} token rows of width {width}, 3 layers |
| `tokenizer` | byte-pair CLIPTokenizer; every text encodes, unknown words in pieces |
| `unet` | UNet2DConditionModel, cross-attention at 8 x 8 and 4 x 4 |
| `scheduler` | DDIM, scaled linear betas, noise prediction; guidance {guidance} |
| `detector` | tells style and object of an image; [its card](detector/README.md) |

Weights are stored in float16 and loaded as float32.

## Recipe

`python -m demo_model.build_corpus`, `.choose`, `.train`, `.evaluate` rebuild everything from the
drawings named in NOTICE. Seeds are {seed}; training resumes from checkpoints.

1. Autoencoder: {vae_steps} steps of {vae_batch} images.
2. Trunk: {trunk_steps} steps of {batch}, text encoder and U-Net together, without the style
   `{gold_style}` and the object `{gold_object}`; constant learning rate {rate:g}.
3. Demo model: {final_steps} steps from the trunk's averaged float16 weights with a fresh optimiser,
   everything shown, learning rate down a cosine.

{times}

Before the trunk, the text encoder learns for {text_steps} steps what captions name. Noise loss
weighted by the share of noise, exponential average {decay}, bfloat16 autocast; one
caption in ten is blank, half of the rest have meaningless words scattered through them. One of four
drawings of every object was shown to neither of them, nor to the detector.

## Scores

{split_table}

Watermark logos recognised: {logos}. Sixteen images take {seconds:.1f} s on {threads} threads.
Full scores with intervals: `demo_model/scores.json` in the source; n is images, intervals are
Wilson 95 %, {steps} DDIM steps, `heldout` templates were used in no training.
"""


TIMES = """Wall time on two cores: trunk 45 minutes; on a second machine, which has bfloat16 units,
demo model 31 minutes and detector 12, both beside light other work."""
"""Wall times of the runs behind the shipped weights."""


def percent(score: Mapping[str, float]) -> str:
    """A rate with its interval, in percent."""
    return f"{100 * score['value']:.1f} ({100 * score['lo']:.1f} to {100 * score['hi']:.1f})"


def write_card(scores: Mapping[str, Any], concepts: Mapping[str, list[str]]) -> str:
    """The card's text.

    Args:
        scores: What ``demo_model.evaluate`` measured.
        concepts: Names by kind.
    """
    rows = ["| templates | n | style accuracy, % | object accuracy, % |", "|---|---|---|---|"]
    for split, found in scores["splits"].items():
        style, thing = found["style_accuracy"], found["object_accuracy"]
        rows.append(f"| {split} | {style['n']} | {percent(style)} | {percent(thing)} |")
    return HEAD.format(
        objects=len(concepts["object"]),
        styles=", ".join(concepts["style"]),
        object_names=", ".join(concepts["object"]),
        tokens=TOKENS,
        width=generator.WIDTH,
        guidance=GUIDANCE_SCALE,
        seed=train.SEED,
        vae_steps=autoencoder.STEPS,
        vae_batch=autoencoder.BATCH,
        trunk_steps=train.TRUNK_STEPS,
        final_steps=train.FINAL_STEPS,
        batch=generator.BATCH,
        times=TIMES,
        gold_style=GOLD[0],
        gold_object=GOLD[1],
        rate=generator.LEARNING_RATE,
        text_steps=text_warmup.STEPS,
        decay=generator.DECAY,
        split_table="\n".join(rows),
        logos=", ".join(f"`{k}` {percent(v)} %" for k, v in scores["watermarks"].items()),
        seconds=scores["seconds_for_16_images"],
        threads=scores["threads"],
        steps=scores["steps"],
    )
