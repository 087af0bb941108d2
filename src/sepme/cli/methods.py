"""``sepme methods``: needs no torch."""

from __future__ import annotations

import ast
from importlib.metadata import entry_points
from pathlib import Path

from sepme.cli._app import SETUP, Run, command

FACTS = ("name", "kind", "separable", "restorable", "cost", "paper")
"""Class attributes every method declares."""


@command(panel=SETUP)
def methods(run: Run) -> None:
    """Which erasure methods there are, what each costs and what can be undone."""
    rows = method_facts()
    parts = [
        f"{row['name']}  ({row['kind']}, {'' if row['separable'] else 'not '}separable)\n"
        f"  restores  {row['restorable']}\n"
        f"  costs     {row['cost']}\n"
        f"  paper     {row['paper']}"
        for row in rows
    ]
    run.screen.result({"methods": rows}, *parts)


def method_facts() -> list[dict[str, object]]:
    """What each method declares of itself, sorted by name.

    Our own methods are read from their source, because importing one imports torch; a method of
    another distribution is imported.
    """
    folder = Path(__file__).parent.parent / "methods"
    rows = [
        facts
        for path in sorted(folder.glob("[!_]*.py"))
        for facts in _declared(path.read_text(encoding="utf-8"))
    ]
    if entry_points(group="sepme.methods"):
        from sepme.methods import METHODS

        own = {row["name"] for row in rows}
        others = [METHODS[name] for name in METHODS if name not in own]
        rows += [{fact: getattr(other, fact) for fact in FACTS} for other in others]
    return sorted(rows, key=lambda row: str(row["name"]))


def _declared(source: str) -> list[dict[str, object]]:
    """Facts of each class in a module that declares all of them as literals."""
    found = []
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef):
            continue
        literals: dict[str, object] = {
            item.target.id: item.value.value
            for item in node.body
            if isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and isinstance(item.value, ast.Constant)
        }
        if set(FACTS) <= literals.keys():
            found.append({fact: literals[fact] for fact in FACTS})
    return found
