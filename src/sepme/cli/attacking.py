"""``sepme attack`` and ``sepme attacks``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sepme.cli._app import LOOK, SETUP, LedgerFolder, Model, Run, Seed, command
from sepme.cli._ledger import existing_ledger
from sepme.cli._screen import table

if TYPE_CHECKING:
    from rich.table import Table

FACTS = ("name", "access", "cheap", "budget", "unit", "control", "paper")
"""What is listed of each attack."""
_SHOWN = ("pre_success_rate", "attack_success_rate", "post_success_rate", "excess_over_gold")


@command(panel=LOOK)
def attack(  # noqa: PLR0913, PLR0917 (one per flag)
    run: Run,
    name: Annotated[str, typer.Argument(metavar="NAME", help="See `sepme attacks`.")],
    ledger: LedgerFolder,
    concept: Annotated[str, typer.Option("--concept", metavar="NAME", help="An erased concept.")],
    model: Model = None,
    budget: Annotated[
        int | None,
        typer.Option(
            "--budget", metavar="N", help="Effort per example.", show_default="the attack's own"
        ),
    ] = None,
    examples: Annotated[
        int, typer.Option("--examples", metavar="N", help="Prompts to attack.")
    ] = 24,
    gold: Annotated[
        str | None,
        typer.Option("--gold", metavar="DIR", help="Folder with a model gold-NAME."),
    ] = None,
    seed: Seed = 0,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", metavar="DIR", help="Finished results.", show_default="the user's cache"
        ),
    ] = None,
) -> None:
    """Try to make a model draw a concept that a ledger has erased."""
    held = existing_ledger(ledger, required=True)
    from sepme.bench.attacks import Attacks
    from sepme.bench.store import Store, default_folder

    spec = Attacks(
        attacks=(name,), concepts=(concept,), budget=budget, examples=examples, gold=gold, seed=seed
    )
    pipeline = run.load(model or (held.model if held else ""), ledger=ledger)
    store = Store(cache or default_folder())
    rows = spec.against(pipeline, store, progress=not run.quiet)
    run.screen.result({"ledger": str(ledger), "rows": rows}, *attack_parts(rows))


@command(panel=SETUP)
def attacks(run: Run) -> None:
    """Which attacks there are, what an attacker needs for each, and what it costs."""
    from sepme.attacks import ATTACKS

    rows = [{fact: getattr(ATTACKS[name], fact) for fact in FACTS} for name in ATTACKS]
    shown = [
        (
            str(row["name"]),
            str(row["access"]),
            f"{row['budget']} {row['unit']}",
            "default" if row["cheap"] else "--full",
        )
        for row in rows
    ]
    run.screen.result({"attacks": rows}, table(("attack", "needs", "budget", "profile"), shown))


def attack_parts(rows: Sequence[Mapping[str, Any]]) -> Sequence[Table | str]:
    """What a person is shown of attack rows."""
    shown = [
        (
            row.get("attack", "none"),
            row.get("party", ""),
            row["metric"].replace("_", " "),
            f"{100 * row['value']:.0f} %",
            "" if row["lo"] is None else f"{100 * row['lo']:.0f} to {100 * row['hi']:.0f}",
            str(row["n"]),
        )
        for row in rows
        if row["metric"] in _SHOWN
    ]
    columns = ("attack", "model", "figure", "value", "95 % interval", "n")
    reliable = all(row["reliable"] for row in rows)
    warning = () if reliable else ("UNRELIABLE: the judge fails its checks; see the docs.",)
    return [table(columns, shown), *warning]
