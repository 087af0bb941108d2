"""Fits that go on where they were cut off."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open

from sepme.core.state import State, kept_by
from sepme.errors import MethodError
from sepme.io.atomic import write_atomic

_LARGEST_SHARE = 0.05
"""Of the time of a fit, that may be spent on keeping it."""

_STATES = "[0-9][0-9][0-9].safetensors"
"""What files with a state are called."""


class Unfinished:
    """States of one fit's optimisations on the disk, a file each, in the order they begin.

    Args:
        folder: Where; created with the first state.
        seconds: Least time between two states of an optimisation.
    """

    def __init__(self, folder: Path, *, seconds: float) -> None:
        self._folder, self._seconds = folder, seconds
        self._turn, self._what = -1, ""
        self._due = 0.0

    def begin(self, what: str) -> State | None:
        """Turn to the fit's next optimisation, as `Keeper.begin` says."""
        self._turn, self._what = self._turn + 1, what
        self._due = time.monotonic() + self._seconds
        return self._read(what) if self._path.exists() else None

    def keep(self, state: Callable[[], State], *, done: bool = False) -> None:
        """Write a state if it is due, or the last."""
        start = time.monotonic()
        if start < self._due and not done:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().contiguous() for name, tensor in state().items()}
        data = safetensors.torch.save(tensors, {"what": json.dumps(self._what)})
        write_atomic(self._path, data)
        took = time.monotonic() - start
        self._due = time.monotonic() + max(self._seconds, took / _LARGEST_SHARE)

    def forget(self) -> None:
        """Delete the states, and the folder if nothing else is in it."""
        for state in self._folder.glob(_STATES):
            state.unlink()
        if self._folder.exists() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._turn:03}.safetensors"

    def _read(self, what: str) -> State:
        way_out = f"Delete {self._folder} to begin the fit anew."
        try:
            with safe_open(self._path, "pt") as file:
                found = json.loads((file.metadata() or {}).get("what", '""'))
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError) as error:
            raise MethodError(f"{self._path} is no state of a fit ({error}). {way_out}") from error
        if found != what:
            raise MethodError(
                f"{self._path} is of another fit: expected {what[:80]}..., got {found[:80]}... "
                f"(they may differ further on). Name another folder, or: {way_out}"
            )
        return state


@contextmanager
def resumable(folder: str | Path, *, seconds: float = 10.0) -> Iterator[None]:
    """Keep the state of a fit, and go on from the state that is there.

    A trained fit made inside writes where it is every few seconds: what it learns, the optimizers,
    the stops, and the random states. If it is cut off, the same fit made inside again goes on from
    there, to the same shift, bit for bit, as if nothing had happened (on one machine, with the same
    number of threads). The images a fit learns from are drawn anew. Other fits pay no heed to it.

    Args:
        folder: Of one fit; the states in it are deleted when the block is left without an
            exception, so put what the fit gives in a safe place inside.
        seconds: Least time between two states; more if they take long to write.

    Raises:
        MethodError: If the folder keeps another fit, or a file that is no state.
        OSError: If a state cannot be written; the one before is then intact.

    Example:
        >>> import sepme
        >>> from sepme.methods.esd import ESD
        >>> model = sepme.load("demo")
        >>> with resumable("van-gogh.unfinished"):  # doctest: +SKIP
        ...     shift = ESD().fit(model, sepme.Concept.style("Van Gogh"))
        ...     save_shift(shift, "van-gogh.safetensors")
    """
    states = Unfinished(Path(folder), seconds=seconds)
    with kept_by(states):
        yield
    states.forget()
