"""``sepme verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sepme.cli._app import LOOK, LedgerFolder, Model, Run, Seed, command
from sepme.cli._evidence import evidence_parts
from sepme.cli._ledger import existing_ledger

VERIFICATION_FAILED = 3


@command(panel=LOOK)
def verify(
    run: Run,
    ledger: LedgerFolder,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Also write an HTML report."),
    ] = None,
    n: Annotated[
        int,
        typer.Option("--n", metavar="N", min=1, help="Held-out images per erased concept."),
    ] = 48,
    model: Model = None,
    seed: Seed = 0,
) -> None:
    """Measure what is gone, what is back and what was kept, on prompts never used before.

    Exits with 3 if a figure misses its threshold.
    """
    held = existing_ledger(ledger, required=True)
    from sepme.report import write_report
    from sepme.verify import verify as make_evidence

    pipeline = run.load(model or (held.model if held else ""), ledger=ledger)
    run.screen.say("measuring; this draws many pictures ...")
    evidence = make_evidence(pipeline, n=n, seed=seed, progress=not run.quiet)
    if report is not None:
        write_report(evidence, report)
    data = {"ledger": str(ledger), "report": str(report) if report else None, **evidence.to_dict()}
    run.screen.result(data, *evidence_parts(evidence))
    if report is not None:
        run.screen.show(f"Report: {report}")
    if not evidence.passed:
        raise typer.Exit(VERIFICATION_FAILED)
