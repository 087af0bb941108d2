"""Fits kept in a store, and models that have them in force for a while."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch

from sepme.bench.memory import peak_memory_mb
from sepme.bench.store import Key, Store
from sepme.core.concept import Concept
from sepme.core.method import Method
from sepme.core.record import versions as installed
from sepme.core.shift import ConceptShift
from sepme.pipeline import ErasedPipeline


def view(model: ErasedPipeline) -> ErasedPipeline:
    """The same model under a ledger of its own, with nothing erased.

    Args:
        model: The model.
    """
    return ErasedPipeline(model.backend, source=model.source, detector=model.detector)


@contextmanager
def erased(model: ErasedPipeline, shifts: Sequence[ConceptShift]) -> Iterator[ErasedPipeline]:
    """A view of the model with some shifts in force, which are given back whatever happens.

    Args:
        model: The model.
        shifts: The shifts; they may interfere.

    Yields:
        The view.
    """
    seen = view(model)
    try:
        if shifts:
            seen.erase(*shifts, allow_interference=True)
        yield seen
    finally:
        if seen.erased:
            seen.restore(*seen.erased)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a fit took when it was made.

    Attributes:
        seconds: Wall time.
        peak_memory_mb: Largest resident set of the whole process up to its end, in MB; None where
            the system does not tell.
        raised: Whether nothing before it took more, so that the figure is the fit's own; else it
            took at most that much.
    """

    seconds: float
    peak_memory_mb: float | None
    raised: bool


def fitted(
    model: ErasedPipeline,
    method: Method,
    concepts: Sequence[Concept],
    *,
    store: Store,
    seed: int,
    retain: Sequence[Concept] = (),
) -> tuple[ConceptShift, ...]:
    """Shifts of some concepts, from the store if the same fit was made before.

    Args:
        model: The model; what it knows is left alone.
        method: The method.
        concepts: What to erase.
        store: Where fits are kept.
        seed: Seed of the fit.
        retain: What to leave alone besides.

    Returns:
        What `Method.fit_many` gives.
    """
    found = store.shifts(key_of(model, method, concepts, seed, retain))
    if found is None:
        found, _ = _fit(model, method, concepts, store, seed, retain)
    return found


def costed(
    model: ErasedPipeline,
    method: Method,
    concepts: Sequence[Concept],
    *,
    store: Store,
    seed: int,
    retain: Sequence[Concept] = (),
) -> tuple[tuple[ConceptShift, ...], Cost]:
    """The same with what the fit took; a fit whose cost nobody kept is made again.

    Args:
        model: As `fitted`.
        method: As `fitted`.
        concepts: As `fitted`.
        store: Where fits and their costs are kept.
        seed: As `fitted`.
        retain: As `fitted`.

    Returns:
        The shifts, and their cost when they were first fitted.
    """
    key = key_of(model, method, concepts, seed, retain)
    found, told = store.shifts(key), store.figures(_cost_key(key))
    if found is None or told is None:
        return _fit(model, method, concepts, store, seed, retain)
    return found, Cost(**told)


def _fit(
    model: ErasedPipeline,
    method: Method,
    concepts: Sequence[Concept],
    store: Store,
    seed: int,
    retain: Sequence[Concept],
) -> tuple[tuple[ConceptShift, ...], Cost]:
    before, start = peak_memory_mb(), time.perf_counter()
    shifts = method.fit_many(model, concepts, retain=retain, seed=seed)
    seconds, after = time.perf_counter() - start, peak_memory_mb()
    cost = Cost(seconds, after, raised=after != before)
    key = key_of(model, method, concepts, seed, retain)
    store.keep_figures(_cost_key(key), asdict(cost))
    store.keep_shifts(key, shifts)
    return shifts, cost


def key_of(
    model: ErasedPipeline,
    method: Method,
    concepts: Sequence[Concept],
    seed: int,
    retain: Sequence[Concept],
) -> Key:
    """All that a fit depends on.

    Args:
        model: As `fitted`.
        method: As `fitted`.
        concepts: As `fitted`.
        seed: As `fitted`.
        retain: As `fitted`.
    """
    resolved = method.resolve(model.presets.get(method.name))
    return {
        "provenance": resolved.provenance(model, seed=seed).to_dict(),
        "concepts": [concept.to_dict() for concept in concepts],
        "known": [concept.to_dict() for concept in (*model.known, *retain)],
        **circumstances(model),
    }


def circumstances(model: ErasedPipeline) -> Key:
    """What any result depends on besides what is asked for: where and in what it is computed.

    Args:
        model: The model.
    """
    return {
        "device": model.pipeline.device.type,
        "dtype": str(model.pipeline.unet.dtype),
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of the packages that results depend on."""
    return dict(installed("sepme", "torch", "diffusers"))


def _cost_key(key: Key) -> Key:
    return {"cost": key}
