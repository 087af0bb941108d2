"""Erasing several concepts so that a kill between any two loses nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sepme.cli._app import Run
from sepme.cli._evidence import plan_parts
from sepme.cli._job import Action, Job, older
from sepme.cli._ledger import Held
from sepme.cli._refit import grown
from sepme.cli._screen import Screen
from sepme.core.concept import Concept
from sepme.core.record import sha256_of
from sepme.io.ledger_dir import LedgerDir

_MOST_NAMES = 5  # in a line of progress

if TYPE_CHECKING:
    from sepme.core.shift import ConceptShift
    from sepme.pipeline import ErasedPipeline


def run_job(
    run: Run,
    job: Job,
    source: str,
    folder: Path,
    *,
    held: LedgerDir | None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Load the model, plan what has to be fitted, and erase.

    Args:
        run: The common flags.
        job: What and how.
        source: The model.
        folder: The ledger's folder.
        held: The ledger in it, if there is one.
        dry_run: Stop after the plan.

    Returns:
        The result as JSON types.

    Raises:
        NotSeparable: If a concept that has to be fitted cannot be separated.
        SepmeError: Whatever loading, fitting and saving may raise.
    """
    from sepme.io.memory_dir import remembered
    from sepme.plan import plan

    model = run.load(source, ledger=folder if held else None)
    ours = Held(held) if held else None
    if job.refit and ours:
        job = grown(job, model, ours)
    left = [c for c, action in job.actions(model, ours).items() if action == "fit"]
    made = None
    if left:
        kept = {c.name: c for c in (*job.retain, *job.concepts) if c not in left}
        made = plan(model, left, retain=tuple(kept.values()), method=job.method)
        run.screen.show(*plan_parts(made))
        made.check()
    for (method, missing), names in (older(job, held.ledger) if held else {}).items():
        again = "" if method == job.method.name else f"{names[0]} again by --method {method} "
        run.screen.note(
            f"{_named(names)}: fitted before {_named(missing)} came up, so that giving back the "
            "latter will be close to the original but not exact while the former is erased. If "
            f"that matters, erase {again}with --refit."
        )
    data: dict[str, Any] = {"ledger": str(folder), "base": model.fingerprint, "dry_run": dry_run}
    data["plan"] = made.to_dict() if made else None
    if dry_run:
        return data
    ours = ours or Held(LedgerDir.create(folder, base=model.fingerprint, model=model.source))
    with remembered(ours.directory.statistics):
        done = erase_each(job, model, folder, ours, run.screen)
    state = ours.directory.ledger
    return {**data, "concepts": done, "erased": list(state.erased), "digest": state.digest}


def erase_each(
    job: Job, model: ErasedPipeline, folder: Path, held: Held, screen: Screen
) -> list[dict[str, Any]]:
    """Erase concepts fit by fit, what one gives on the disk at once before the next is begun.

    Args:
        job: What and how.
        model: The model, with the ledger open.
        folder: The ledger's folder.
        held: The ledger.
        screen: For progress.

    Returns:
        What was done for each concept.
    """
    from sepme.io.unfinished import resumable

    done: list[dict[str, Any]] = []
    for action, concepts in job.turns(model, held):
        names = [concept.name for concept in concepts]
        turn = f"{_named(names)} ({len(done) + len(names)} of {len(job.concepts)})"
        start = time.perf_counter()
        if action == "keep":
            screen.say(f"{turn}: already erased with this method, seed and prompts; skipped")
        else:
            kept = _unfinished(job, concepts, model, folder)
            fit = "going on with a fit that was cut off ..." if kept.exists() else "fitting ..."
            again = "erasing again with the shift the ledger holds; no training"
            screen.say(f"{turn}: {again if action == 'reuse' else fit}")
            with resumable(kept):
                shifts = _shifts(job, concepts, action, model, held)
                held.erase(*shifts, strength=job.strength, still=job.added.intersection(names))
            model.erase(*shifts, strength=job.strength)
            _warn(shifts, screen)
        seconds = time.perf_counter() - start if action != "keep" else 0.0
        if action != "keep":
            screen.say(f"{turn}: erased in {seconds:.1f} s and saved")
        done += [_told(concept, action, seconds, held) for concept in concepts]
    places = {concept.name: place for place, concept in enumerate(job.concepts)}
    return sorted(done, key=lambda row: places[row["name"]])


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _unfinished(
    job: Job, concepts: tuple[Concept, ...], model: ErasedPipeline, folder: Path
) -> Path:
    """Where the state of one fit is kept until the ledger holds what it gave."""
    rest = [c.to_dict() for c in (*model.known, *job.retain, *job.concepts)]
    origin = job.method.provenance(model, seed=job.seed).to_dict()
    asked = [[concept.to_dict() for concept in concepts], rest, origin]
    return folder / f".unfinished-{sha256_of(asked)[:16]}"


def _shifts(
    job: Job,
    concepts: tuple[Concept, ...],
    action: Action,
    model: ErasedPipeline,
    held: Held,
) -> tuple[ConceptShift, ...]:
    if action == "reuse":
        entries = {entry.shift: entry for entry in (held.entry(c.name) for c in concepts)}
        return tuple(held.shift(entry) for entry in entries.values())
    rest = tuple(c for c in (*job.retain, *job.concepts) if c not in concepts)
    return job.method.fit_many(model, concepts, retain=rest, seed=job.seed)


def _warn(shifts: Iterable[ConceptShift], screen: Screen) -> None:
    for shift in shifts:
        facts = shift.provenance.fit
        if facts.get("stopped") is False:
            screen.warn(
                f"the fit of {shift.name!r} used all its {facts.get('steps')} steps without "
                "reaching its stop, so it may erase too little or harm other concepts. Check it "
                "with `sepme verify` before you rely on it."
            )


def _told(concept: Concept, action: Action, seconds: float, held: Held) -> dict[str, Any]:
    entry = held.entry(concept.name)
    shift = held.shift(entry)
    return {
        "name": concept.name,
        "action": {"fit": "fitted", "reuse": "reused", "keep": "skipped"}[action],
        "seconds": round(seconds, 2),
        "shift": shift.digest,
        "bytes": shift.nbytes,
        "strength": entry.strength,
        "decoupled_from": list(shift.decoupled_from),
        "fit": dict(shift.provenance.fit),
    }
