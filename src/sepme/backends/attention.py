"""Cross-attention maps, as the U-Net computes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

_CROSS_ATTENTION = re.compile(r".*\.attn2")


@contextmanager
def attention_maps(unet: torch.nn.Module) -> Iterator[dict[str, Tensor]]:
    """Collect what every cross-attention layer attends to while the U-Net runs.

    The maps are made from the queries and keys that the layers' own projections give, so they
    follow whatever weights are in force, and gradients flow through them.

    Args:
        unet: The U-Net.

    Yields:
        Module path of a layer to its probabilities, ``(n, heads, pixels, tokens)``; filled by each
        forward pass, those of the last one stay.
    """
    layers = {n: m for n, m in unet.named_modules() if _CROSS_ATTENTION.fullmatch(n)}
    maps: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for name, layer in layers.items():
            for handle in _hooks(name, layer, maps):
                hooks.callback(handle.remove)
        yield maps


def _hooks(name: str, layer: Any, maps: dict[str, Tensor]) -> list[Any]:  # noqa: ANN401
    """Hooks that keep the queries of a layer until its keys come, then the map of the two."""
    queries: list[Tensor] = []

    def keep(_module: object, _inputs: object, query: Tensor) -> None:
        queries[:] = [query]

    def attend(_module: object, _inputs: object, key: Tensor) -> None:
        query = queries.pop()
        heads = layer.get_attention_scores(*map(layer.head_to_batch_dim, (query, key)))
        maps[name] = heads.unflatten(0, (len(query), -1))

    return [layer.to_q.register_forward_hook(keep), layer.to_k.register_forward_hook(attend)]
