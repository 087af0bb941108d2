"""``sepme quickstart``: the main job on the demo model, start to finish."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from sepme.cli._app import DEMO, MAIN, Run, command
from sepme.cli._evidence import evidence_parts
from sepme.cli._job import Job
from sepme.cli._ledger import existing_ledger
from sepme.cli._pictures import before_after
from sepme.cli._work import run_job
from sepme.cli.proof import VERIFICATION_FAILED
from sepme.errors import BaseMismatch, LedgerCorrupt, ShiftFileError, SpecError

if TYPE_CHECKING:
    from sepme.core.concept import Concept

ERASED = ("van-gogh", "hokusai", "fluent")
RESTORED = "hokusai"
RETAINED = "renoir"
_IMAGES = 32  # held-out images per erased concept: all of it within six minutes on two cores


@command(panel=MAIN)
def quickstart(
    run: Run,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where everything is written.")
    ] = Path("sepme-quickstart"),
) -> None:
    """Erase three styles from the demo model, give one back, verify, write a report.

    Takes a few minutes on two CPU cores and needs no network.
    """
    start, screen = time.perf_counter(), run.screen
    if out.exists() and not out.is_dir():
        raise SpecError(f"{out} is a file; --out expects a folder.")
    out.mkdir(parents=True, exist_ok=True)
    ledger, report, picture = out / "ledger", out / "report.html", out / "before-after.png"
    screen.say(f"1 of 3: erasing {', '.join(ERASED)}")
    data = _erase(run, ledger)
    screen.say(f"2 of 3: giving {RESTORED} back, and drawing before and after")
    seconds, model = before_after(
        run, ledger, picture, erased=ERASED, restored=RESTORED, retained=RETAINED
    )
    screen.say("3 of 3: verifying on prompts never used before, and writing the report")
    from sepme.report import write_report
    from sepme.verify import verify

    evidence = verify(model, n=_IMAGES, progress=not run.quiet)
    write_report(evidence, report)
    data |= {"report": str(report), "picture": str(picture), "erased": list(model.erased)}
    data |= {"digest": model.ledger.digest, "evidence": evidence.to_dict()}
    data |= {"restored": [RESTORED], "restore_seconds": seconds, "passed": evidence.passed}
    total = data["seconds"] = time.perf_counter() - start
    told = _story(total, seconds, evidence.passed, report, picture, ledger)
    screen.result(data, *evidence_parts(evidence), told)
    if not evidence.passed:
        raise typer.Exit(VERIFICATION_FAILED)


def _erase(run: Run, folder: Path) -> dict[str, object]:
    """Erase the three styles; what an earlier run left is used if it is any good."""
    from sepme import demo
    from sepme.methods import METHODS

    known: dict[str, Concept] = {concept.name: concept for concept in demo.concepts()}
    job = Job(tuple(known[name] for name in ERASED), (), METHODS["sepme"](), seed=0)
    try:
        return run_job(run, job, DEMO, folder, held=existing_ledger(folder))
    except (BaseMismatch, LedgerCorrupt, ShiftFileError) as error:
        aside = _aside(folder)
        run.screen.warn(f"{error} It was moved to {aside.name}; starting afresh.")
    return run_job(run, job, DEMO, folder, held=None)


def _aside(folder: Path) -> Path:
    """Move a folder out of the way, keeping it."""
    number = 1
    while (target := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    folder.rename(target)
    return target


def _story(
    total: float, restoring: float, passed: bool, report: Path, picture: Path, ledger: Path
) -> Text:
    sepme = "sepme" if shutil.which("sepme") else os.path.relpath(sys.argv[0])
    kept = [name for name in ERASED if name != RESTORED]
    verdict = Text("passed", "bold green") if passed else Text("did not pass", "bold red")
    after = "." if passed else ";\nread in the report what fell short before you rely on it."
    return Text.assemble(
        f"\nErased three styles of the demo model: {', '.join(ERASED)}.\n"
        f"Gave {RESTORED} back in {restoring:.2f} s, without training; "
        f"{' and '.join(kept)} stay erased.\n"
        "The verification ",
        verdict,
        f"{after} All of it took {total / 60:.1f} minutes.\n\n",
        ("Look\n", "bold"),
        f"  the report    {report}\n  the pictures  {picture}\n  the ledger    {ledger}\n\n",
        ("Try next\n", "bold"),
        f"  {sepme} status --ledger {ledger}\n"
        f'  {sepme} generate "a cat by Van Gogh" --ledger {ledger} --out {ledger.parent}\n'
        f"  {sepme} restore van-gogh --ledger {ledger}",
    )
