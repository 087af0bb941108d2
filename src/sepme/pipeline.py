"""The erased pipeline: a diffusers pipeline, a ledger, and nothing else that changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sepme import demo
from sepme.backends import Ledgered, StableDiffusion, load_backend
from sepme.core.compose import compose, guards_of, sites_of
from sepme.core.ledger import Ledger
from sepme.core.shift import ConceptShift
from sepme.errors import BaseMismatch, LedgerError
from sepme.io.ledger_dir import LedgerDir
from sepme.io.saving import save_ledger

if TYPE_CHECKING:
    from sepme.demo.classifier import Detector


class ErasedPipeline(Ledgered):
    """A text-to-image pipeline that can forget named concepts and remember any of them.

    Live weights are always ``pristine + the sum of the active shifts``, computed from a pristine
    copy: the same active set gives the same bits whatever was erased or restored before, and with
    nothing erased the weights are the pristine ones, bit for bit. Shifts that are guards act while
    the pipeline runs; with none active it has no hook. It is itself a
    :class:`sepme.core.backend.Backend`, so methods fit on it directly.

    Args:
        backend: The model.
        source: Where it was loaded from, recorded in a saved ledger.
        detector: Tells which concepts an image shows, if there is one for this model.

    Example:
        >>> model = load("demo")
        >>> model.erased, [concept.name for concept in model.known]
        ((), ['blank', 'zorvex', 'qualim'])
    """

    def __init__(
        self, backend: StableDiffusion, *, source: str = "live", detector: Detector | None = None
    ) -> None:
        """Start with nothing erased."""
        super().__init__(backend)
        self.source = source
        self.detector = detector

    @property
    def pipeline(self) -> Any:  # noqa: ANN401 (a diffusers pipeline of whatever class)
        """The diffusers pipeline itself, with the live weights."""
        return self.backend.pipeline

    def erase(
        self, *shifts: ConceptShift, strength: float = 1.0, allow_interference: bool = False
    ) -> None:
        """Put shifts in force, all or none of them.

        Args:
            shifts: Shifts fitted on this base model.
            strength: Above 0, at most 2; 1 is as fitted (dimensionless).
            allow_interference: Accept a second shift that is not separable.

        Raises:
            BaseMismatch: If a shift was fitted on another base model.
            Interference: If a shift would disturb one that is active.
        """
        ledger = self.ledger.erase_all(shifts, strength, allow_interference=allow_interference)
        self._enact(ledger, {shift.digest: shift for shift in shifts})

    def restore(self, *names: str) -> None:
        """Give concepts back; with the last one the weights are pristine, bit for bit.

        Args:
            names: Names of erased concepts.

        Raises:
            NotErased: If one of them is not erased.
        """
        self._enact(self.ledger.restore(*names))

    @contextmanager
    def restored(self, *names: str) -> Iterator[ErasedPipeline]:
        """Give concepts back inside a ``with`` block; afterwards they are erased again.

        Args:
            names: Names of erased concepts.

        Yields:
            This pipeline.
        """
        before = self.ledger
        self.restore(*names)
        try:
            yield self
        finally:
            self._enact(before)

    def _enact(self, ledger: Ledger, shifts: Mapping[str, ConceptShift] | None = None) -> None:
        if self.backend.policy is not None:
            raise LedgerError(
                "a policy is in force; leave its block before erasing or restoring anything."
            )
        held = self._shifts | dict(shifts or {})
        active = [(held[entry.shift], entry.strength) for entry in ledger.active]
        touched = self.backend.live()
        sites = sites_of(self.backend, (shift for shift, _ in active), besides=touched)
        weights = compose(sites, active)
        with self.backend.all_or_nothing():  # no weights or guards that no ledger tells of
            self.backend.write(weights)
            self.backend.guard(guards_of(active))
            self.ledger, self._shifts = ledger, held

    def save(self, path: str | Path, *, reason: str | None = None) -> LedgerDir:
        """Write what this pipeline has erased and restored into a ledger directory.

        Args:
            path: A new folder, or one this pipeline's ledger already lives in.
            reason: Free text for the history.

        Returns:
            The ledger directory.

        Raises:
            BaseMismatch: If the folder holds the ledger of another base model.
            LedgerError: If it holds a concept that this pipeline never held.
        """
        return save_ledger(path, self.ledger, self._shifts, model=self.source, reason=reason)

    def open(self, path: str | Path) -> LedgerDir:
        """Take over what a ledger directory says is erased.

        Args:
            path: A ledger directory.

        Returns:
            The ledger directory.

        Raises:
            BaseMismatch: If it is the ledger of another base model.
            LedgerError: If there is no ledger or it is damaged.
        """
        directory = LedgerDir(path)
        if directory.ledger.base != self.backend.fingerprint:
            raise BaseMismatch(
                f"{path} is for base {directory.ledger.base}, this model is "
                f"{self.backend.fingerprint}. Load the model the ledger was made for "
                f"({directory.model!r})."
            )
        self._enact(directory.ledger, directory.shifts())
        return directory


def load(
    model: Any = "demo",  # noqa: ANN401 (a name, a path or a live diffusers pipeline)
    *,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    ledger: str | Path | None = None,
    offline: bool = False,
) -> ErasedPipeline:
    """Load a text-to-image model that sepme can work on.

    Args:
        model: ``"demo"``, a diffusers directory, a hub id, or a live diffusers pipeline.
        device: Where to run, such as ``"cuda"``; None is the CPU, or where a live pipeline is.
        dtype: Of the weights; None is float32 whatever is stored, or a live pipeline's own.
        ledger: A ledger directory whose erased concepts to put in force.
        offline: Never ask a hub.

    Returns:
        The pipeline.

    Raises:
        BackendError: If there is no such model or it is of a family sepme does not know.
        BaseMismatch: If the ledger was made for another base model.

    Example:
        >>> load("demo").erased
        ()
    """
    is_demo = isinstance(model, str) and model == "demo"
    backend = load_backend(
        demo.weights() if is_demo else model, device=device, dtype=dtype, offline=offline
    )
    source = str(model) if isinstance(model, (str, Path)) else "live"
    pipeline = ErasedPipeline(backend, source=source, detector=demo.detector() if is_demo else None)
    if ledger is not None:
        pipeline.open(ledger)
    return pipeline
