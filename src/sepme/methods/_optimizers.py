"""What an optimizer remembers, as named tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from sepme.core.state import State


def optimizer_state(optimizer: torch.optim.Optimizer) -> State:
    """What an optimizer remembers of its parameters, by their place; empty before a step."""
    memory = optimizer.state_dict()["state"]
    return {f"memory/{i}/{key}": t for i, known in memory.items() for key, t in known.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Let an optimizer go on from a state that holds an `optimizer_state`."""
    memory: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if name.startswith("memory/"):
            _, place, key = name.split("/")
            memory.setdefault(int(place), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": memory})
