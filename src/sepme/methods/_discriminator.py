"""A small convolutional network that tells two domains of latents apart, patch by patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import conv2d, group_norm, leaky_relu, softplus

from sepme.core.state import State
from sepme.methods._optimizers import load_optimizer, optimizer_state

_WIDTH = 64
_MOST_HALVINGS = 4
_LEAST_MAP = 4
_KERNEL = 4
_SLOPE = 0.2
_BETAS = (0.5, 0.999)


@dataclass(frozen=True, slots=True, eq=False)
class Discriminator:
    """PatchGAN: one logit for each patch of a latent, high where it looks like the target.

    Convolutions of stride 2 halve the latent down to a map of 4 x 4, at most four times, while
    the channels double from 64; one more convolution gives the logits. Between them are leaky
    ReLUs and, from the second on, a normalisation of each latent over all its channels, which
    unlike batch normalisation depends on nothing else in the batch.

    Attributes:
        layers: Kernel and bias of each convolution.
        optimizer: Of all of them.
    """

    layers: Sequence[tuple[Tensor, Tensor]]
    optimizer: torch.optim.Optimizer

    @classmethod
    def drawn(cls, like: Tensor, *, rate: float, seed: int) -> Discriminator:
        """One that knows nothing yet, for latents ``(n, channels, height, width)``.

        The numbers come from a generator of its own, so the global random state is untouched.
        """
        generator = torch.Generator().manual_seed(seed)
        _, channels, *size = like.shape
        halvings = max(1, min(_MOST_HALVINGS, (min(size) // _LEAST_MAP).bit_length() - 1))
        widths = [channels, *(_WIDTH << i for i in range(halvings)), 1]
        layers = []
        for inner, outer in pairwise(widths):
            kernel = torch.randn(outer, inner, _KERNEL, _KERNEL, generator=generator)
            kernel /= (inner * _KERNEL**2) ** 0.5
            layers.append([part.to(like.device) for part in (kernel, torch.zeros(outer))])
        numbers = [part.requires_grad_() for layer in layers for part in layer]
        adam = torch.optim.Adam(numbers, lr=rate, betas=_BETAS, fused=True)
        return cls([(kernel, bias) for kernel, bias in layers], adam)

    def state(self) -> State:
        """Its numbers, and what their optimizer remembers."""
        numbers = [number for layer in self.layers for number in layer]
        named = {f"number/{i}": number for i, number in enumerate(numbers)}
        return {**named, **optimizer_state(self.optimizer)}

    @torch.no_grad()
    def load(self, state: State) -> None:
        """Go on from there."""
        for i, number in enumerate(number for layer in self.layers for number in layer):
            number.copy_(state[f"number/{i}"])
        load_optimizer(self.optimizer, state)

    def score(self, latents: Tensor) -> Tensor:
        """Logits ``(n, 1, rows, columns)`` of being of the target's domain, not the anchor's."""
        hidden = latents
        for place, (kernel, bias) in enumerate(self.layers[:-1]):
            hidden = conv2d(hidden, kernel, bias, stride=2, padding=1)
            hidden = leaky_relu(group_norm(hidden, 1) if place else hidden, _SLOPE)
        return conv2d(hidden, *self.layers[-1], padding=1)

    def betrayal(self, latents: Tensor) -> Tensor:
        """Cross-entropy of taking latents for the anchor's: what a shift lowers to pass as it."""
        return softplus(self.score(latents)).mean()

    def learn(self, anchor: Tensor, target: Tensor) -> float:
        """One update on latents of both domains; returns the loss before it (2 ln 2 is chance)."""
        loss = self.betrayal(anchor) + softplus(-self.score(target)).mean()
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.item()
