"""``sepme plan`` and ``sepme erase``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sepme.cli._app import (
    DEMO,
    MAIN,
    Concepts,
    ConceptsFile,
    LedgerFolder,
    MethodName,
    Model,
    Retain,
    Run,
    Seed,
    command,
)
from sepme.cli._concepts import chosen_concepts, named_concepts
from sepme.cli._evidence import plan_parts
from sepme.cli._job import Job
from sepme.cli._ledger import existing_ledger
from sepme.cli._screen import table
from sepme.cli._work import run_job


@command(panel=MAIN)
def plan(
    run: Run,
    concepts: Concepts = None,
    concepts_file: ConceptsFile = None,
    model: Model = None,
    ledger: Annotated[
        Path | None, typer.Option("--ledger", metavar="DIR", help="Count in what this one holds.")
    ] = None,
    method: MethodName = "sepme",
    retain: Retain = None,
) -> None:
    """Tell what erasing would take, and whether it can work, before anything runs."""
    held = existing_ledger(ledger, required=True) if ledger else None
    source = model or (held.model if held else DEMO)
    chosen = chosen_concepts(concepts, concepts_file, model=source, screen=run.screen)
    kept = named_concepts(retain, model=source, screen=run.screen)
    from sepme.methods import METHODS
    from sepme.plan import plan as make_plan

    maker = METHODS[method]()
    pipeline = run.load(source, ledger=ledger)
    made = make_plan(pipeline, chosen, retain=kept, method=maker)
    run.screen.result(made.to_dict(), *plan_parts(made))
    made.check()


@command(panel=MAIN)
def erase(  # noqa: PLR0913, PLR0917 (one per flag)
    run: Run,
    ledger: LedgerFolder,
    concepts: Concepts = None,
    concepts_file: ConceptsFile = None,
    model: Model = None,
    method: MethodName = "sepme",
    retain: Retain = None,
    seed: Seed = 0,
    strength: Annotated[
        float, typer.Option("--strength", metavar="X", help="Above 0, at most 2; 1 is as fitted.")
    ] = 1.0,
    refit: Annotated[
        bool,
        typer.Option("--refit", help="Fit what is in force by this method again, with the new."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the plan.")] = False,
) -> None:
    """Make the model forget concepts, each saved as soon as its fit is done.

    Interrupted? Run the same command again: it goes on with the concepts that are left.
    """
    held = existing_ledger(ledger)
    source = model or (held.model if held else DEMO)
    chosen = chosen_concepts(concepts, concepts_file, model=source, screen=run.screen)
    kept = named_concepts(retain, model=source, screen=run.screen)
    from sepme.methods import METHODS

    job = Job(chosen, kept, METHODS[method](), seed, strength, refit)
    data = run_job(run, job, source, ledger, held=held, dry_run=dry_run)
    if dry_run:
        run.screen.result(data, "Dry run: nothing was changed.")
        return
    rows = [
        (c["name"], c["action"], f"{c['seconds']:.1f} s", f"{c['bytes'] / 1024:.0f} kB")
        for c in data["concepts"]
    ]
    run.screen.result(
        data,
        table(("concept", "done", "time", "size"), rows, right=("time", "size")),
        f"Erased now: {', '.join(data['erased'])}.\nNext: sepme verify --ledger {ledger}",
    )
