"""What fits need not work out twice, and who remembers it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from torch import Tensor


class Memory(Protocol):
    """Remembers tensors that follow from their key alone."""

    def recall(self, key: str) -> Tensor | None:
        """What was kept.

        Args:
            key: Digest of all that the tensor depends on.

        Returns:
            The tensor; None if it was not kept, or is lost.
        """

    def keep(self, key: str, tensor: Tensor) -> None:
        """Remember a tensor.

        Args:
            key: As for `recall`.
            tensor: Float32, on the CPU.
        """


_MEMORY: ContextVar[Memory | None] = ContextVar("memory", default=None)


def memory() -> Memory | None:
    """Who remembers what fits made here have worked out; None for nobody."""
    return _MEMORY.get()


@contextmanager
def remembered_by(who: Memory) -> Iterator[None]:
    """Let somebody remember what the fits made inside work out.

    Args:
        who: Who.
    """
    token = _MEMORY.set(who)
    try:
        yield
    finally:
        _MEMORY.reset(token)
