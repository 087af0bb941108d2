"""Endless batches in a random order that can be taken up where it was left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from sepme.core.state import State, Stateful, gathered, spread

Part = TypeVar("Part", covariant=True)


class Indexable(Protocol[Part]):
    """What rows can be picked from."""

    def __len__(self) -> int:
        """Number of rows."""

    def __getitem__(self, pick: Tensor, /) -> Part:
        """The rows at some indices."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Base of tensors that belong together row by row."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._tensors()[0])

    def __getitem__(self, pick: Tensor) -> Self:
        """The rows at some indices."""
        return type(self)(*(tensor[pick.to(tensor.device)] for tensor in self._tensors()))

    def _tensors(self) -> list[Tensor]:
        return [getattr(self, declared.name) for declared in fields(self)]


class Draw(torch.Generator):
    """A source of randomness that can be taken up where it was left.

    Args:
        seed: Where it begins.
    """

    def __new__(cls, seed: int) -> Self:
        """A generator on the CPU."""
        draw = super().__new__(cls)
        draw.manual_seed(seed)
        return draw

    def state(self) -> State:
        """Where it is."""
        return {"draw": self.get_state()}

    def load(self, state: State) -> None:
        """Go on from there."""
        self.set_state(state["draw"])


class Batches(Iterator[Part]):
    """Endless batches of rows that visit all of them before any comes again.

    Args:
        rows: What is visited; for indices, a range of them as a tensor.
        batch: Rows a batch.
        seed: Seed of the order.
    """

    def __init__(self, rows: Indexable[Part], batch: int, *, seed: int) -> None:
        self._rows, self._batch, self._draw = rows, batch, Draw(seed)
        self._order = torch.empty(0, dtype=torch.long)

    def __next__(self) -> Part:
        """The next batch."""
        while len(self._order) < self._batch:
            more = torch.randperm(len(self._rows), generator=self._draw)
            self._order = torch.cat([self._order, more])
        pick, self._order = self._order[: self._batch], self._order[self._batch :]
        return self._rows[pick]

    def state(self) -> State:
        """What is left of the order, and of the randomness."""
        return {"order": self._order, **self._draw.state()}

    def load(self, state: State) -> None:
        """Go on from there."""
        self._order = state["order"]
        self._draw.load(state)


Member = TypeVar("Member", bound=Stateful)


class Turns(Iterator[Member], Generic[Member]):
    """Some members, in turn and for ever.

    Args:
        members: At least one.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members, self._turn = members, 0

    def __next__(self) -> Member:
        """Whose turn it is."""
        member = self._members[self._turn % len(self._members)]
        self._turn += 1
        return member

    def state(self) -> State:
        """The turn, and the state of every member."""
        return {"turn": torch.tensor(self._turn), **gathered(self._named())}

    def load(self, state: State) -> None:
        """Go on from there."""
        self._turn = int(state["turn"])
        spread(self._named(), state)

    def _named(self) -> dict[str, Member]:
        return {str(place): member for place, member in enumerate(self._members)}
