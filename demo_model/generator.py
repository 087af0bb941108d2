"""Stages 2 and 3: text encoder and U-Net, first a trunk that misses two concepts, then all.

The trunk ends at a constant learning rate and is kept in float16. Everything that branches from
it, the demo model and later the gold models, loads those float16 averages with a fresh optimiser,
so that branches differ in nothing but the images they see.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from demo_model import BUILD
from demo_model.captions import Captioner
from demo_model.corpus import Corpus
from demo_model.text_warmup import warm_up
from demo_model.tokenizer import TOKENS
from demo_model.training import Average, Checkpoint, warm_cosine

WIDTH, BATCH, LEARNING_RATE, DECAY = 240, 32, 1e-3, 0.999
PLAIN_SHARE, LOGO_SHARE = 0.16, 0.03

log = logging.getLogger(__name__)


def build_unet() -> UNet2DConditionModel:
    """The untrained U-Net: 16 x 16 x 4 latents, cross-attention at 8 x 8 and 4 x 4."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(48, 112, 176),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """The untrained text encoder: 24 token rows of width 240."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=6,
        max_position_embeddings=TOKENS,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def build_scheduler() -> DDIMScheduler:
    """DDIM over Stable Diffusion's schedule with a little more noise at its end."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.015,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
        prediction_type="epsilon",
    )


class Branch:
    """One run of the recipe on one selection of the corpus.

    Args:
        weights: Where the averaged float16 weights go; its stem names the run.
        corpus: The rows it sees.
        latents: Their latents, ``(rows, copies, 4, 16, 16)``.
        tokenizer: The tokenizer.
        phrases: Concept name to the words captions use for it.
        steps: Training steps.
        seed: Seed of everything random.
        constant: Keep the learning rate up to the end, so that others can branch from here.
    """

    def __init__(
        self,
        weights: Path,
        corpus: Corpus,
        latents: Tensor,
        tokenizer: CLIPTokenizer,
        phrases: dict[str, str],
        *,
        steps: int,
        seed: int,
        constant: bool = False,
    ) -> None:
        torch.manual_seed(seed)
        self.weights_path, self.name = weights, weights.stem
        self.corpus, self.latents, self.steps = corpus, latents, steps
        self.tokenizer = tokenizer
        self.captioner = Captioner(tokenizer, phrases)
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        self.model = torch.nn.ModuleDict(
            {"unet": build_unet(), "text_encoder": build_text_encoder(tokenizer)}
        )
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.01
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            (lambda s: min(1.0, (s + 1) / 200)) if constant else (lambda s: warm_cosine(s, steps)),
        )
        self.signal = build_scheduler().alphas_cumprod
        self.chance = sampling_weights(corpus)

    @property
    def checkpoint_path(self) -> Path:
        """Where a run in progress is kept."""
        return BUILD / f"{self.name}.pt"

    def warm_up(self) -> None:
        """Let the text encoder learn what captions name, unless training has begun."""
        if not self.checkpoint_path.exists():
            loss = warm_up(
                self.model["text_encoder"],
                self.captioner,
                self.corpus,
                self.chance,
                seed=self.seed,
            )
            log.info("%s text encoder loss %.4f", self.name, loss)

    def start_from(self, weights: Path) -> None:
        """Begin at the averaged weights of another branch."""
        self.model.load_state_dict({k: v.float() for k, v in load_file(weights).items()})

    def _batch(self) -> tuple[Tensor, list[str]]:
        rows = torch.multinomial(self.chance, BATCH, replacement=True, generator=self.generator)
        copies = torch.randint(self.latents.shape[1], (BATCH,), generator=self.generator)
        style, thing = self.corpus.style, self.corpus.object
        captions = [self.captioner(str(style[r]), str(thing[r])) for r in rows.tolist()]
        return self.latents[rows, copies].float(), captions

    def _loss(self) -> Tensor:
        latents, captions = self._batch()
        tokens = self.captioner.encode(captions)
        noise = torch.randn(latents.shape, generator=self.generator)
        t = torch.randint(len(self.signal), (BATCH,), generator=self.generator)
        kept = self.signal[t].view(-1, 1, 1, 1)
        noisy = kept.sqrt() * latents + (1 - kept).sqrt() * noise
        with torch.autocast("cpu", torch.bfloat16):
            rows = self.model["text_encoder"](tokens)[0]
            predicted = self.model["unet"](noisy, t, rows).sample
        error = (predicted.float() - noise).square().mean((1, 2, 3))
        return (error * (1 - self.signal[t])).mean()

    def train(self) -> Path:
        """Run to the end, or on from the last checkpoint, and write the averaged weights."""
        average = Average(self.model, DECAY)
        checkpoint = Checkpoint(
            self.checkpoint_path,
            300,
            model=self.model,
            optimizer=self.optimizer,
            schedule=self.schedule,
            average=average,
            generator=self.generator,
        )
        smooth = None
        for step in checkpoint.steps(self.steps, self.name):
            self.captioner.random.seed(f"{self.seed} {step}")  # the same after a resume
            loss = self._loss()
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            average.update(self.model)
            smooth = loss.item() if smooth is None else 0.99 * smooth + 0.01 * loss.item()
            if (step + 1) % 100 == 0:
                log.info("%s step %d loss %.4f", self.name, step + 1, smooth)
        save_file({k: v.half() for k, v in average.state.items()}, self.weights_path)
        return self.weights_path


def sampling_weights(corpus: Corpus, *, plain: float = PLAIN_SHARE) -> Tensor:
    """Chance of every row: styles alike, plain and logos at their shares, objects alike inside."""
    styles = sorted(set(corpus.style.tolist()) - {"plain", "none"})
    share = dict.fromkeys(styles, (1 - plain - LOGO_SHARE) / len(styles))
    share |= {"plain": plain, "none": LOGO_SHARE}
    counts = {s: int((corpus.style == s).sum()) for s in share}
    return torch.tensor([share[s] / counts[s] for s in corpus.style.tolist()]).double()
