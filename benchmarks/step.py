"""One training step of SepME against the formulation with two models and four forwards.

The reference step evaluates eps(x, c), eps(x, "") with the original and with the changed model and
sends gradients through both changed ones. Ours evaluates eps(x, c) of the changed model only: blank
is left alone by construction, and what the original says is cached. Both train the same factors,
with the same optimiser and penalty, in turns in one process.

    python benchmarks/step.py [--arch demo|sd1] [--pairs N] [--json]
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from harness import paired, parser, row, seconds_of, show
from torch import Tensor
from torch.func import functional_call
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import sepme
from sepme.methods._batches import Batches
from sepme.methods._pools import FrozenPool, frozen_pool

POOL = 8


def sd1() -> sepme.ErasedPipeline:
    """Random weights at SD 1.x shapes: the true U-Net, a thin text encoder, a toy autoencoder."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(sepme.demo.weights() / "tokenizer")
    tokenizer.model_max_length = 77
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=768,
        num_hidden_layers=1,
        num_attention_heads=12,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(block_out_channels=(32,), sample_size=64),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return sepme.load(pipeline)


def random_pool(model: sepme.ErasedPipeline, prompt: str) -> FrozenPool:
    """A pool that costs nothing: the time of a step does not depend on what the numbers are."""
    unet = model.pipeline.unet.config
    shape = (POOL, unet.in_channels, unet.sample_size, unet.sample_size)
    noise = [torch.randn(shape) for _ in range(3)]
    rows = model.encode([prompt]).expand(POOL, -1, -1)
    return FrozenPool(noise[0], torch.randint(1000, (POOL,)), rows, noise[1], noise[2])


def our_step(
    model: sepme.ErasedPipeline, method: sepme.SepME, concept: sepme.Concept, pool: FrozenPool
) -> tuple[Callable[[], object], Tensor]:
    """The loop of `SepME.fit` itself, one step a call; and the directions it trains on."""
    from sepme.core.listing import listed
    from sepme.methods._descent import descend

    directions, _ = method._room(model, concept, listed(model, concept, []))
    learner = method._learner(model, directions, Batches(pool, method.batch_size, seed=0))
    steps = descend([learner], steps=method.max_steps)
    return lambda: next(steps), learner.change.directions


def reference_step(
    model: sepme.ErasedPipeline, method: sepme.SepME, pool: FrozenPool, directions: Tensor
) -> Callable[[], object]:
    """Two models, four forwards, one backward through two of them."""
    original, changed = model.pipeline.unet, copy.deepcopy(model.pipeline.unet)
    blank = model.encode([""])
    weights = model.sites()
    factors = {
        site: torch.zeros(len(weight), len(directions), requires_grad=True)
        for site, weight in weights.items()
    }
    adam = torch.optim.Adam(factors.values(), lr=method.learning_rate)
    visits = iter(range(10**9))

    def step() -> None:
        i = next(visits) % POOL
        x, t, c = pool.latents[i : i + 1], pool.timesteps[i : i + 1], pool.embeds[i : i + 1]
        deltas = {site: method.scale * factor @ directions for site, factor in factors.items()}
        moved = {f"{site}.weight": weights[site] + delta for site, delta in deltas.items()}
        with torch.no_grad():
            before = original(x, t, c).sample - original(x, t, blank).sample
        named = functional_call(changed, moved, (x, t, c)).sample
        after = named - functional_call(changed, moved, (x, t, blank)).sample
        size = torch.stack([delta.abs().sum() for delta in deltas.values()]).mean()
        loss = (after * before).mean() + method.penalty * size
        adam.zero_grad()
        loss.backward()
        adam.step()

    return step


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--arch", choices=("demo", "sd1"), default="demo")
    arguments.add_argument("--basis", choices=("null-space", "private"), default="null-space")
    arguments.add_argument("--pairs", type=int, default=None, help="default 40, sd1: 5")
    chosen = arguments.parse_args()
    model = sepme.load("demo") if chosen.arch == "demo" else sd1()
    concept = sepme.demo.concepts()[0]
    method = sepme.SepME(basis=chosen.basis, threshold=-1e9, max_steps=10**6).resolve()
    pool = random_pool(model, concept.prompts[0])
    ours, directions = our_step(model, method, concept, pool)
    theirs = reference_step(model, method, pool, directions)
    pairs = chosen.pairs or (40 if chosen.arch == "demo" else 5)
    timed = paired(ours, theirs, pairs=pairs, warm_up=2 if chosen.arch == "demo" else 1)
    rows = [row(f"step, {chosen.basis}", chosen.arch, 1, **timed)]
    if chosen.arch == "demo":  # what is paid once instead
        options = {"images": method.images, "size": method.pool, "bins": method.bins, "seed": 0}
        whole = seconds_of(lambda: frozen_pool(model, concept, **options))
        rows.append(row(f"pool of {method.pool}, images drawn", chosen.arch, 1, whole))
    show(rows, as_json=chosen.json)


if __name__ == "__main__":
    main()
