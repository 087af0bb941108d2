"""What a refit covers besides what is asked for by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sepme.cli._job import Job
from sepme.cli._ledger import Held
from sepme.errors import SpecError, shown

if TYPE_CHECKING:
    from sepme.core.entry import Entry
    from sepme.core.shift import Provenance
    from sepme.pipeline import ErasedPipeline


def grown(job: Job, model: ErasedPipeline, held: Held) -> Job:
    """The job that also covers what is in force by its method, so that all is fitted together.

    Args:
        job: What is asked for.
        model: The model, with the ledger open.
        held: The ledger.

    Returns:
        The job, with concepts added.

    Raises:
        SpecError: If something in force was made otherwise than the job would, or leaves a concept
            alone that nobody describes here.
    """
    asked = {concept.name for concept in job.concepts}
    entries = [e for e in held.directory.ledger.active if e.method == job.method.name]
    others = [entry for entry in entries if not entry.names <= asked]
    chosen = job.method.resolve(model.presets.get(job.method.name))
    wanted = chosen.provenance(model, seed=job.seed)
    for entry in others:
        _check_same(entry, held.shift(entry).provenance, wanted, job.strength)
    more = [c for entry in others for c in entry.concepts if c.name not in asked]
    added = frozenset(concept.name for concept in more)
    every = replace(job, concepts=(*job.concepts, *more), added=added)
    listed = {c.name for c in (*model.known, *every.concepts, *job.retain)}
    for entry in entries:
        if lost := sorted(set(entry.decoupled_from) - listed):
            raise SpecError(
                f"{entry.name!r} leaves {lost[0]!r} alone, and a refit would not, for nothing here "
                f"says what that is. Say --retain {lost[0]}, worded as it was then."
            )
    return every


def _check_same(entry: Entry, made: Provenance, wanted: Provenance, strength: float) -> None:
    """Refuse to change how something was made that nobody named."""
    was: Mapping[str, object] = {"strength": entry.strength, "seed": made.seed, **made.config}
    now: Mapping[str, object] = {"strength": strength, "seed": wanted.seed, **wanted.config}
    for key in sorted(was.keys() & now.keys()):
        if was[key] != now[key]:
            raise SpecError(
                f"{entry.name!r} was erased with {key} {shown(was[key])}, and a refit would take "
                f"{shown(now[key])}. "
                + (f"Say --{key} {was[key]}, or n" if key in {"strength", "seed"} else "N")
                + f"ame {entry.name!r} in the same command, if that is meant."
            )
