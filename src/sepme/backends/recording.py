"""What layers of a U-Net read while a pipeline draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from sepme.errors import BackendError


class InputNorms:
    """Size of each input feature of some layers, for the first evaluations of a U-Net.

    Every row, that is, the features of one token of one image, is first scaled to length one, so
    that no token counts for more than another (ConceptPrune).

    Args:
        pipeline: A diffusers pipeline; it stops drawing after the first evaluations.
        sites: Module paths of linear layers of its U-Net.
        first: How many evaluations of each drawing count.

    Raises:
        BackendError: If a site is no linear layer.
    """

    def __init__(self, pipeline: Any, sites: Sequence[str], *, first: int) -> None:  # noqa: ANN401
        """Start with nothing seen."""
        self._pipeline, self._first, self._step = pipeline, first, 0
        self._layers = {site: pipeline.unet.get_submodule(site) for site in sites}
        for site, layer in self._layers.items():
            if not isinstance(layer, nn.Linear):
                raise BackendError(
                    f"{site} is a {type(layer).__name__}; only what linear layers read is recorded."
                )
        self._seen: dict[tuple[str, int], tuple[Tensor, int]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take in everything the layers read inside the block."""
        hooks = [self._pipeline.unet.register_forward_hook(self._evaluated)]
        for site, layer in self._layers.items():
            hooks.append(layer.register_forward_pre_hook(partial(self._read, site)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def next_image(self) -> None:
        """Count evaluations from the start again."""
        self._step = 0

    def found(self) -> dict[str, Tensor]:
        """Root mean square of every feature: layer to ``(first, d_in)``, float64, on the CPU."""
        found: dict[str, list[Tensor]] = {site: [] for site in self._layers}
        for (site, _), (squares, count) in sorted(self._seen.items(), key=itemgetter(0)):
            found[site].append((squares / count).sqrt().cpu())
        return {site: torch.stack(steps) for site, steps in found.items()}

    def _evaluated(self, *_: object) -> None:
        self._step += 1
        if self._step >= self._first:
            self._pipeline._interrupt = True  # diffusers' way to skip the steps that are left

    def _read(self, site: str, _layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        rows = normalize(given[0].detach().flatten(0, -2).double(), dim=1)
        squares, count = self._seen.get((site, self._step), (torch.zeros(()), 0))
        self._seen[site, self._step] = squares.to(rows) + rows.square().sum(0), count + len(rows)
