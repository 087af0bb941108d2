"""What every stage of the training shares: augmentation, checkpoints and averaging."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm


def to_tensor(images: Any) -> Tensor:
    """uint8 ``(n, h, w, 3)`` to float32 ``(n, 3, h, w)`` in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def augment(
    images: Tensor, generator: torch.Generator, *, shift: float = 0.08, zoom: float = 0.1
) -> Tensor:
    """Random flip, shift and scale of ``(n, 3, h, w)``; borders are mirrored.

    Args:
        images: Images in any range.
        generator: Source of randomness.
        shift: Largest shift, as a fraction of the side.
        zoom: Largest relative change of scale.
    """
    n = images.shape[0]
    r = torch.rand(4, n, generator=generator) * 2 - 1
    scale = 1 + zoom * r[0]
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = scale * torch.where(r[3] < 0, -1.0, 1.0)
    theta[:, 1, 1] = scale
    theta[:, :, 2] = 2 * shift * r[1:3].T
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


class Average:
    """Exponential moving average of a module's parameters, with a warm-up."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.state = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module's present parameters."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for key, value in module.state_dict().items():
            if value.is_floating_point():
                self.state[key].lerp_(value, 1 - keep)


class Checkpoint:
    """Everything that must survive a kill, written atomically every ``every`` steps."""

    def __init__(self, path: Path, every: int, **parts: Any) -> None:
        self.path, self.every, self.parts = path, every, parts

    def resume(self) -> int:
        """Load the parts and return the number of finished steps."""
        if not self.path.exists():
            return 0
        saved = torch.load(self.path, weights_only=True)
        for name, part in self.parts.items():
            if isinstance(part, Average):
                part.state, part.steps = saved[name]["state"], saved[name]["steps"]
            elif isinstance(part, torch.Generator):
                part.set_state(saved[name])
            else:
                part.load_state_dict(saved[name])
        return int(saved["step"])

    def save(self, step: int) -> None:
        """Write the parts as they are after ``step`` steps."""
        saved: dict[str, Any] = {"step": step}
        for name, part in self.parts.items():
            if isinstance(part, Average):
                saved[name] = {"state": part.state, "steps": part.steps}
            elif isinstance(part, torch.Generator):
                saved[name] = part.get_state()
            else:
                saved[name] = part.state_dict()
        staged = self.path.with_suffix(".partial")
        torch.save(saved, staged)
        os.replace(staged, self.path)

    def steps(self, total: int, label: str) -> Iterator[int]:
        """Count from the resumed step to ``total``, saving on the way and at the end."""
        start = self.resume()
        bar = tqdm(range(start, total), initial=start, total=total, desc=label, mininterval=30)
        for step in bar:
            yield step
            if (step + 1) % self.every == 0 or step + 1 == total:
                self.save(step + 1)


def warm_cosine(step: int, total: int, *, warmup: int = 200, floor: float = 0.02) -> float:
    """Learning-rate factor: linear warm-up, then half a cosine down to ``floor``."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
