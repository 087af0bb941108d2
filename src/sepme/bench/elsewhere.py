"""Cells made by the workers of an executor, each of which loads the model for itself."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tqdm.auto import tqdm

from sepme.bench.cells import Cell
from sepme.bench.fits import versions
from sepme.bench.store import Entries, Store
from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.core.executor import Executor
from sepme.errors import BackendError, BaseMismatch
from sepme.pipeline import ErasedPipeline, load


@dataclass(frozen=True, slots=True)
class Source:
    """Where a worker gets the model, and what it must be told of it.

    Attributes:
        name: What :func:`sepme.load` takes.
        device: Kind of device; a worker has its own one of that kind.
        dtype: Of the weights.
        base: Fingerprint that it must have.
        known: What the model knows, concepts its ledger ever held included.
        versions: Packages that the worker must have.
    """

    name: str
    device: str
    dtype: torch.dtype
    base: str
    known: tuple[Concept, ...]
    versions: Mapping[str, str] = field(default_factory=versions)

    @classmethod
    def of(cls, model: ErasedPipeline) -> Source:
        """Where a model came from.

        Args:
            model: A model that is `sendable`.
        """
        here = model.source != "demo" and Path(model.source).is_dir()
        return cls(
            name=str(Path(model.source).resolve()) if here else model.source,
            device=model.pipeline.device.type,
            dtype=model.pipeline.unet.dtype,
            base=model.fingerprint,
            known=model.known,
        )

    def load(self) -> ErasedPipeline:
        """The model, read once as long as a process is asked for no other.

        Raises:
            BackendError: If there is no such model here, or a package is of another version.
            BaseMismatch: If it is another one.
        """
        if (here := versions()) != self.versions:
            raise BackendError(
                f"a worker has {_listed(here)}, the caller has {_listed(self.versions)}. Install "
                "the same on all machines."
            )
        model = _loaded(self.name, self.device, self.dtype)
        if model.fingerprint != self.base:
            raise BaseMismatch(
                f"a worker read {self.name!r} with base {model.fingerprint}, the caller has "
                f"{self.base}. Give all machines the same files."
            )
        return _Told(model, self.known)


class _Told(ErasedPipeline):
    """A model with nothing erased that knows what the caller's knows."""

    def __init__(self, model: ErasedPipeline, known: tuple[Concept, ...]) -> None:
        super().__init__(model.backend, source=model.source, detector=model.detector)
        self._known = known

    @property
    def known(self) -> tuple[Concept, ...]:
        return self._known


def _listed(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in packages.items())


@functools.lru_cache(maxsize=1)
def _loaded(name: str, device: str, dtype: torch.dtype) -> ErasedPipeline:
    return load(name, device=device, dtype=dtype)


def sendable(model: Backend) -> ErasedPipeline:
    """A model that other processes can load for themselves.

    Args:
        model: The model.

    Returns:
        The model.

    Raises:
        BackendError: If it came from no place they could read.
    """
    if not isinstance(model, ErasedPipeline) or model.source == "live":
        raise BackendError(
            "a live pipeline cannot be sent to other processes. Save it with save_pretrained and "
            "load the folder with sepme.load, or use executor='local'."
        )
    return model


@dataclass(frozen=True, slots=True)
class Order:
    """What every worker is told.

    Attributes:
        source: The model.
        threads: Torch threads.
        folder: The caller's store, where the worker can reach it.
        cells: What there is to make.
    """

    source: Source
    threads: int
    folder: Path | None
    cells: tuple[Cell, ...]


def work(order: Order, which: int) -> Entries:
    """Make one cell, in a worker.

    Args:
        order: The order.
        which: Place of the cell.

    Returns:
        What the caller's store has to take in; nothing if the worker could reach it.
    """
    torch.set_num_threads(order.threads)
    cell, model = order.cells[which], order.source.load()
    if order.folder is not None:
        cell.make(model, Store(order.folder))
        return {}
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        cell.make(model, store)
        return store.entries()


def prepare(
    cells: Sequence[Cell],
    model: ErasedPipeline,
    store: Store,
    executor: Executor,
    *,
    progress: bool = True,
) -> None:
    """Make what the store lacks, each cell a task; what is finished is kept at once.

    Args:
        cells: What to make.
        model: The model, which workers load for themselves.
        store: Where the results are kept.
        executor: Who makes it.
        progress: Whether to show progress on stderr.

    Raises:
        BackendError: If the model cannot be loaded elsewhere, or workers are lost.
    """
    source = Source.of(sendable(model))
    with torch_threads(executor.threads):
        left = tuple(cell for cell in cells if not cell.done(model, store))
        threads = torch.get_num_threads()
    if not left:
        return
    folder = store.folder.resolve() if executor.shares_disk else None
    order, hidden = Order(source, threads, folder, left), {} if progress else {"disable": True}
    with tqdm(desc="tasks", total=len(left), unit="task", leave=False, **hidden) as bar:
        for _, entries in executor.map(work, range(len(left)), common=order):
            store.add(entries)
            bar.update()


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Compute with so many torch threads inside.

    Args:
        count: How many; None leaves them as they are.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
