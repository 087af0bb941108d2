"""Fits kept in a store, and models that have them in force for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from sepme.bench.store import Store
from sepme.core.concept import Concept
from sepme.core.method import Method
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
    resolved = method.resolve(model.presets.get(method.name))
    key = {
        "provenance": resolved.provenance(model, seed=seed).to_dict(),
        "concepts": [concept.to_dict() for concept in concepts],
        "known": [concept.to_dict() for concept in (*model.known, *retain)],
        "threads": torch.get_num_threads(),
    }
    found = store.shifts(key)
    if found is None:
        found = method.fit_many(model, concepts, retain=retain, seed=seed)
        store.keep_shifts(key, found)
    return found
