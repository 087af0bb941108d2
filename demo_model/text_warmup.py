"""Teach the text encoder what captions name, before the U-Net reads it.

A caption's rows from its end token on, padding included, must tell style and object through two
linear heads that are then thrown away. It takes a minute and saves the U-Net the time in which it
would have nothing to read.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import trange

from demo_model.captions import Captioner
from demo_model.corpus import Corpus

STEPS, BATCH, LEARNING_RATE = 400, 192, 1e-3


def warm_up(
    encoder: nn.Module, captioner: Captioner, corpus: Corpus, chance: Tensor, *, seed: int
) -> float:
    """Train the encoder in place.

    Args:
        encoder: The text encoder.
        captioner: Writes captions.
        corpus: Rows to caption.
        chance: Chance of every row.
        seed: Seed of rows and captions.

    Returns:
        The last loss, averaged over fifty steps.
    """
    generator = torch.Generator().manual_seed(seed)
    captioner.random.seed(seed)
    labels = [sorted(set(column.tolist())) for column in (corpus.style, corpus.object)]
    targets = [
        torch.tensor([names.index(name) for name in column.tolist()])
        for names, column in zip(labels, (corpus.style, corpus.object), strict=True)
    ]
    heads = nn.ModuleList([nn.Linear(encoder.config.hidden_size, len(n)) for n in labels])
    optimizer = torch.optim.AdamW([*encoder.parameters(), *heads.parameters()], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    smooth = 0.0
    for step in trange(STEPS, desc="text encoder", mininterval=30):
        rows = torch.multinomial(chance, BATCH, replacement=True, generator=generator)
        styles, things = corpus.style, corpus.object
        written = [captioner.draw(str(styles[r]), str(things[r])) for r in rows.tolist()]
        tokens = captioner.encode([caption for caption, _ in written])
        named = torch.tensor([names for _, names in written])
        told = encoder(tokens)[0]
        after = (tokens == encoder.config.eos_token_id).cumsum(1) > 0
        loss = torch.zeros(())
        for which, (head, target) in enumerate(zip(heads, targets, strict=True)):
            answers = target[rows].masked_fill(~named[:, which], -100)
            wanted = answers[:, None].expand(after.shape).masked_fill(~after, -100)
            loss = loss + F.cross_entropy(head(told).flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        smooth += loss.item() / 50 if step >= STEPS - 50 else 0.0
    return smooth
