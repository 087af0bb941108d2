"""Stage 1: a small AutoencoderKL, 64 x 64 x 3 to 16 x 16 x 4."""

from __future__ import annotations

import logging

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from demo_model import BUILD, IMAGE_SIZE
from demo_model.corpus import Corpus
from demo_model.training import Checkpoint, augment, to_tensor

STEPS, BATCH, LEARNING_RATE, KL_WEIGHT, SEED = 2600, 16, 2e-3, 1e-4, 0
FOLDER = BUILD / "vae"

log = logging.getLogger(__name__)


def build_autoencoder() -> AutoencoderKL:
    """The untrained autoencoder."""
    return AutoencoderKL(
        sample_size=IMAGE_SIZE,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )


def train_autoencoder(corpus: Corpus) -> AutoencoderKL:
    """Train on every image of the corpus, set ``scaling_factor`` and save."""
    torch.manual_seed(SEED)
    vae = build_autoencoder()
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=STEPS, pct_start=0.1
    )
    checkpoint = Checkpoint(
        BUILD / "vae.pt", 200, vae=vae, optimizer=optimizer, schedule=schedule, generator=generator
    )
    images = to_tensor(corpus.images)
    for _ in checkpoint.steps(STEPS, "autoencoder"):
        rows = torch.randint(len(images), (BATCH,), generator=generator)
        batch = augment(images[rows], generator)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(batch).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=generator)
            decoded = vae.decode(posterior.mean + posterior.std * noise).sample.float()
        loss = F.l1_loss(decoded, batch) + F.mse_loss(decoded, batch)
        loss = loss + KL_WEIGHT * posterior.kl().mean() / posterior.mean[0].numel()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    vae.eval()
    with torch.inference_mode():
        sample = images[torch.randperm(len(images), generator=generator)[:512]]
        means = torch.cat([vae.encode(b).latent_dist.mean for b in sample.split(64)])
        restored = torch.cat([vae.decode(m).sample for m in means.split(64)])
    vae.register_to_config(scaling_factor=float(1 / means.std()))
    log.info("autoencoder: mean squared error %.4f", F.mse_loss(restored, sample))
    vae.save_pretrained(FOLDER)
    return vae


if __name__ == "__main__":
    train_autoencoder(Corpus.load())
