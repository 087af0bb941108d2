"""Where output goes: results to stdout, progress and messages to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.box import ROUNDED
from rich.console import Console
from rich.table import Table
from rich.text import Text

GOOD, BAD, DIM = "green", "red", "dim"


@dataclass(frozen=True)
class Screen:
    """Both output streams of one command.

    Attributes:
        json: Print the result as one JSON object and nothing else on stdout.
        quiet: Leave out progress; warnings and errors are always shown.
    """

    json: bool = False
    quiet: bool = False
    out: Console = field(default_factory=lambda: Console(highlight=False))
    err: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def say(self, text: str) -> None:
        """A line of progress."""
        if not self.quiet:
            self.err.print(Text(text), style=DIM, soft_wrap=True)

    def note(self, text: str) -> None:
        """Something to know that needs no action."""
        if not self.quiet:
            self._line("note", "cyan", text)

    def warn(self, text: str) -> None:
        """Something that may make the result worse than expected."""
        self._line("warning", "yellow", text)

    def error(self, text: str) -> None:
        """Why the command failed."""
        self._line("error", f"bold {BAD}", text)

    def _line(self, label: str, style: str, text: str) -> None:
        one_line = " ".join(text.split())
        self.err.print(Text.assemble((f"{label}:", style), " ", one_line), soft_wrap=True)

    def result(self, data: Mapping[str, Any], *parts: Table | str | Text) -> None:
        """The command's result: ``data`` as JSON if asked for, else ``parts`` for people."""
        if self.json:
            sys.stdout.write(json.dumps(data, default=_plain, allow_nan=False) + "\n")
            sys.stdout.flush()
            return
        self.show(*parts)

    def show(self, *parts: Table | str | Text) -> None:
        """Part of the result, for people only; no path or command in it is broken in two."""
        for part in parts if not self.json else ():
            shown = Text(part) if isinstance(part, str) else part
            self.out.print(shown, soft_wrap=isinstance(shown, Text))


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    right: Sequence[str] = (),
) -> Table:
    """A table for people.

    Args:
        columns: Headings.
        rows: Cells; a `Text` keeps its style, anything else is shown as its string.
        title: Line above it.
        right: Headings of the columns that hold numbers.
    """
    made = Table(
        title=title, title_justify="left", title_style="bold", box=ROUNDED, header_style="bold"
    )
    for heading in columns:
        made.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return made


def mark(good: bool, yes: str = "ok", no: str = "FAILED") -> Text:
    """A verdict in a table cell."""
    return Text(yes, style=GOOD) if good else Text(no, style=f"bold {BAD}")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    return str(value)
