"""State of an optimisation that is under way, and who keeps it in case of an interrupt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeAlias

from torch import Tensor

State: TypeAlias = Mapping[str, Tensor]
"""Everything that changes from step to step, by name."""


class Stateful(Protocol):
    """Part of an optimisation that changes from step to step."""

    def state(self) -> State:
        """What it needs to go on from here."""

    def load(self, state: State) -> None:
        """Go on from a state of the same part."""


class Keeper(Protocol):
    """Keeps what a fit needs to go on after an interrupt."""

    def begin(self, what: str) -> State | None:
        """Turn to the fit's next optimisation.

        Args:
            what: All that its result depends on, as text.

        Returns:
            The state it was left in, if it had begun before.

        Raises:
            MethodError: If what is kept is of another fit.
        """

    def keep(self, state: Callable[[], State], *, done: bool = False) -> None:
        """Keep a state, now or later.

        Args:
            state: Tells it, if it is wanted.
            done: Whether the optimisation is over.
        """


_KEEPER: ContextVar[Keeper | None] = ContextVar("keeper", default=None)


def keeper() -> Keeper | None:
    """Who keeps the states of fits made here; None for nobody."""
    return _KEEPER.get()


@contextmanager
def kept_by(who: Keeper) -> Iterator[None]:
    """Let somebody keep the states of the fits made inside.

    Args:
        who: The keeper.
    """
    token = _KEEPER.set(who)
    try:
        yield
    finally:
        _KEEPER.reset(token)


def gathered(parts: Mapping[str, Stateful]) -> State:
    """States of several parts in one; names are joined by a slash.

    Args:
        parts: Name to part.
    """
    return {f"{k}/{name}": t for k, part in parts.items() for name, t in part.state().items()}


def spread(parts: Mapping[str, Stateful], state: State) -> None:
    """Give several parts their own share of a state made by `gathered`.

    Args:
        parts: Name to part.
        state: The state.
    """
    for key, part in parts.items():
        own = f"{key}/"
        part.load({n.removeprefix(own): t for n, t in state.items() if n.startswith(own)})
