"""Train and judge the detector, on drawings it never sees in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from demo_model.corpus import Corpus
from demo_model.sources import OBJECTS, PLAIN_SETS
from demo_model.training import augment, to_tensor
from sepme.demo.classifier import NONE, DetectorNet

BATCH, LEARNING_RATE = 96, 3e-3
IGNORED = -100
"""Target that the loss leaves out."""
OTHER_SHARE = 0.4
"""Share of rows in styles that have no class: they teach objects alone."""


@dataclass(frozen=True)
class Labels:
    """The names behind the two heads; ``"none"`` is last in both."""

    styles: tuple[str, ...]
    objects: tuple[str, ...]

    def encode(self, corpus: Corpus) -> tuple[Tensor, Tensor]:
        """Class indices of every row of the corpus; ``IGNORED`` for a style without a class."""
        style = {name: i for i, name in enumerate(self.styles)}
        thing = {name: i for i, name in enumerate(self.objects)}
        return (
            torch.tensor([style.get(s, IGNORED) for s in corpus.style.tolist()]),
            torch.tensor([thing[o] for o in corpus.object]),
        )


def held_out_drawings(corpus: Corpus, offset: int) -> np.ndarray:
    """Mask of one drawing for each object: set ``(index + offset) % 4`` of the plain sets."""
    sets = list(PLAIN_SETS)
    held = {name: sets[(i + offset) % len(sets)] for i, name in enumerate(OBJECTS)}
    return np.array([held.get(o) == d for o, d in zip(corpus.object, corpus.drawing, strict=True)])


def spoil(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures of nothing made from real ones: noise, blank, blur, heavy noise, broken."""
    n, _, h, w = images.shape
    kind = torch.randint(6, (n,), generator=generator)
    noise = torch.randn(images.shape, generator=generator)
    colour = torch.rand(n, 3, 1, 1, generator=generator) * 2 - 1
    coarse = F.interpolate(torch.randn(n, 3, 8, 8, generator=generator), (h, w), mode="bicubic")
    variants = [
        noise * torch.rand(n, 1, 1, 1, generator=generator),
        colour.expand(-1, -1, h, w) + 0.03 * noise,
        F.interpolate(F.adaptive_avg_pool2d(images, 4), (h, w), mode="bilinear"),
        0.25 * images + noise,
        coarse + 0.1 * noise,
        colour + 0.3 * coarse,
    ]
    return torch.stack(variants)[kind, torch.arange(n)].clamp(-1, 1)


def shuffle_patches(images: Tensor, generator: torch.Generator, patch: int = 16) -> Tensor:
    """The same colours and strokes with the object cut to pieces."""
    n, c, h, w = images.shape
    tiles = images.unfold(2, patch, patch).unfold(3, patch, patch).flatten(2, 3)
    tiles = tiles[:, :, torch.randperm(tiles.shape[2], generator=generator)]
    rows = tiles.view(n, c, h // patch, w // patch, patch, patch)
    return rows.transpose(3, 4).reshape(n, c, h, w)


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Small changes of contrast, sharpness and grain, as a generator makes them."""
    n = len(images)
    gain = 1 + 0.1 * torch.randn(n, 1, 1, 1, generator=generator)
    soft = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    mix = torch.rand(n, 1, 1, 1, generator=generator) * 0.9
    grain = 0.06 * torch.rand(n, 1, 1, 1, generator=generator)
    noisy = images + mix * (soft - images) + grain * torch.randn(images.shape, generator=generator)
    return (noisy * gain + 0.05 * torch.randn(n, 3, 1, 1, generator=generator)).clamp(-1, 1)


def recolour(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random colours and a random tilt: shape alone is left, the style label is not."""
    n = len(images)
    mix = torch.eye(3) + 0.6 * torch.randn(n, 3, 3, generator=generator)
    mixed = torch.einsum("nij,njhw->nihw", mix / mix.abs().sum(2, keepdim=True), images)
    angle = 0.3 * torch.randn(n, generator=generator)
    row = torch.stack([angle.cos(), -angle.sin(), torch.zeros(n)], 1)
    column = torch.stack([angle.sin(), angle.cos(), torch.zeros(n)], 1)
    grid = F.affine_grid(torch.stack([row, column], 1), list(images.shape), align_corners=False)
    return F.grid_sample(mixed, grid, padding_mode="border", align_corners=False)


def sampling_weights(style: Tensor, classes: int) -> Tensor:
    """Chance of every row: rare styles a little more often, ``OTHER_SHARE`` for the ignored."""
    known = style != IGNORED
    counts = torch.bincount(style[known], minlength=classes) + 1
    chance = torch.zeros(len(style), dtype=torch.double)
    chance[known] = counts.double().rsqrt()[style[known]]
    if known.all():
        return chance
    others = ~known
    chance[known] *= (1 - OTHER_SHARE) / chance[known].sum()
    chance[others] = OTHER_SHARE / others.sum()
    return chance


def train_detector(
    corpus: Corpus, labels: Labels, *, steps: int, seed: int, restored: Tensor | None = None
) -> DetectorNet:
    """Fit both heads; ``restored`` holds the corpus after the autoencoder, mixed in by halves."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = DetectorNet(len(labels.styles), len(labels.objects))
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.15
    )
    images = to_tensor(corpus.images)
    style, thing = labels.encode(corpus)
    chance = sampling_weights(style, len(labels.styles))
    for _ in tqdm(range(steps), desc="detector", mininterval=30):
        rows = torch.multinomial(chance, BATCH, generator=generator)
        source = images
        if restored is not None and torch.rand((), generator=generator) < 0.5:
            source = restored
        real = jitter(augment(source[rows], generator, shift=0.1, zoom=0.15), generator)
        count = BATCH // 8
        free = BATCH // 3
        real = torch.cat([recolour(real[:free], generator), real[free:]])
        batch = torch.cat(
            [
                real,
                spoil(real[free : free + count], generator),
                shuffle_patches(real[-count:], generator),
            ]
        )
        nothing = torch.full((count,), len(labels.styles) - 1)
        ignored = torch.full((count,), IGNORED)
        empty = torch.full((2 * count,), len(labels.objects) - 1)
        known = style[rows].index_fill(0, torch.arange(free), IGNORED)
        targets = torch.cat([known, nothing, ignored]), torch.cat([thing[rows], empty])
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(batch)
        loss = sum(
            F.cross_entropy(guess.float(), target, label_smoothing=0.05)
            for guess, target in zip(logits, targets, strict=False)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.inference_mode()
def predict(net: DetectorNet, images: Tensor) -> tuple[Tensor, Tensor]:
    """Style and object class of each image."""
    outputs = [net(chunk) for chunk in images.split(256)]
    style, thing = (torch.cat([o[i] for o in outputs]).argmax(1) for i in (0, 1))
    return style, thing


def confusion(truth: Tensor, guess: Tensor, classes: int) -> Tensor:
    """Counts ``(classes, classes)``: truth in rows, guess in columns."""
    return torch.bincount(truth * classes + guess, minlength=classes**2).view(classes, classes)


def add_none(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names with ``"none"`` last, once."""
    return (*(n for n in names if n != NONE), NONE)
