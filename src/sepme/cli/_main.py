"""Entry point: one line for every error, and the exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from sepme.cli import (
    attacking,
    benching,
    doctor,
    erasing,
    exporting,
    images,
    ledgers,
    measuring,
    methods,
    proof,
    quickstart,
)
from sepme.cli._app import app
from sepme.cli._screen import Screen
from sepme.errors import SepmeError

_MODULES = (
    attacking,
    benching,
    doctor,
    erasing,
    exporting,
    images,
    ledgers,
    measuring,
    methods,
    proof,
    quickstart,
)
"""Modules whose import adds the commands."""
_ORDER = [
    "quickstart",
    "plan",
    "erase",
    "restore",
    "export",
    "status",
    "generate",
    "verify",
    "bench",
    "attack",
    "methods",
    "metrics",
    "attacks",
    "doctor",
]

_INTERRUPTED = 130
_INTERRUPTION = "interrupted. What was reported done is kept; run it again to go on."
_DEBUG = "SEPME_DEBUG"

app.registered_commands.sort(key=lambda command: _ORDER.index(str(command.name)))


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: Words after ``sepme``; None is those of the process.

    Raises:
        SystemExit: Always: 0 ok, 1 failure, 2 usage, 3 verification failed, 4 not separable, 5
            base mismatch, 130 interrupted.
    """
    screen = Screen()
    try:
        app(args=None if args is None else list(args), prog_name="sepme")
    except SystemExit as ending:
        if ending.code == _INTERRUPTED:
            screen.error(_INTERRUPTION)
        raise
    except KeyboardInterrupt:
        screen.error(_INTERRUPTION)
        sys.exit(_INTERRUPTED)
    except SepmeError as error:
        screen.error(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        screen.error(f"{where}{error.strerror or error}.")
        sys.exit(1)
    except Exception as error:
        if os.environ.get(_DEBUG):
            raise
        said = str(error).strip().splitlines() or ["no message"]
        screen.error(
            f"unexpected {type(error).__name__}: {said[0]} Set {_DEBUG}=1 to see where it came "
            "from."
        )
        sys.exit(1)
