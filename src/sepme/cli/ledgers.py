"""``sepme restore`` and ``sepme status``: they need no torch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from sepme.cli._app import LOOK, MAIN, LedgerFolder, Run, command
from sepme.cli._screen import BAD, GOOD, table
from sepme.core.concept import Concept
from sepme.core.entry import Entry
from sepme.core.ledger import Ledger
from sepme.errors import ConceptError
from sepme.io.ledger_dir import LedgerDir

_DIGEST_SHOWN = 12


@command(panel=MAIN)
def restore(
    run: Run,
    concepts: Annotated[
        list[str],
        typer.Argument(metavar="CONCEPT", help="An erased concept.", show_default=False),
    ],
    ledger: LedgerFolder,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Kept in the history.")
    ] = None,
) -> None:
    """Give erased concepts back, exactly; in a blink, without loading the model."""
    directory = LedgerDir(ledger)
    wanted = [_name(word, directory.ledger) for word in concepts]
    before = directory.ledger.erased
    after = directory.restore(*wanted, reason=reason)
    given = sorted(set(before) - set(after.erased))
    run.screen.result(
        {"ledger": str(ledger), "restored": given, "erased": after.erased, "digest": after.digest},
        f"Restored {', '.join(given)}. {_still(after.erased)}",
    )


@command(panel=LOOK)
def status(run: Run, ledger: LedgerFolder) -> None:
    """What is erased, what was, and since when."""
    directory = LedgerDir(ledger)
    state, history = directory.ledger, directory.history()
    data: dict[str, Any] = {
        "ledger": str(ledger),
        "model": directory.model,
        "base": state.base,
        "digest": state.digest,
        "erased": state.erased,
        "entries": [{"name": entry.name, **entry.to_dict()} for entry in state.entries],
        "history": [{"time": r.time, "seq": r.seq, "hash": r.hash, **r.event} for r in history],
    }
    facts = (
        f"model     {directory.model}\n"
        f"base      {state.base[: _DIGEST_SHOWN + len('sha256:')]}\n"
        f"ledger    {state.digest[:_DIGEST_SHOWN]}\n"
        f"history   {len(history)} events, the last {history[-1].time}"
    )
    since = _since(data["history"])
    rows = [_row(entry, since.get(entry.name, "")) for entry in state.entries]
    columns = ("concept", "kind", "state", "since (UTC)", "method", "strength")
    shown = table(columns, rows, right=("strength",))
    run.screen.result(data, facts, shown if rows else "Nothing was ever erased here.")


def _row(entry: Entry, since: str) -> Sequence[object]:
    state = Text("erased", BAD) if entry.active else Text("restored", GOOD)
    kinds = "+".join(concept.kind for concept in entry.concepts)
    return entry.name, kinds, state, since, entry.method, f"{entry.strength:g}"


def _since(history: list[dict[str, Any]]) -> dict[str, str]:
    """When each entry was last erased, given back or replaced, to the minute."""
    times: dict[str, str] = {}
    holder: dict[str, str] = {}
    for event in history:
        entries = [[c["name"] for c in e["concepts"]] for e in event.get("entries", [])]
        touched = event.get("concepts") or itertools.chain.from_iterable(entries)
        ended = {holder.pop(name) for name in touched if name in holder}
        begun = {"+".join(names): names for names in entries}
        holder |= {name: entry for entry, names in begun.items() for name in names}
        times |= dict.fromkeys(ended | begun.keys(), event["time"][:16].replace("T", " "))
    return times


def _name(word: str, ledger: Ledger) -> str:
    """The ledger's name for what a person typed: the name itself, or the phrase behind it."""
    if word in ledger.erased or "+" in word:
        return word
    try:
        return Concept.from_text(word).name
    except ConceptError:
        return word


def _still(erased: Sequence[str]) -> str:
    if not erased:
        return "Nothing is erased now: the weights are the original."
    return f"Still erased: {', '.join(erased)}."
