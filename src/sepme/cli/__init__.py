"""The command line: each command reads, validates, calls one library function, and prints."""

from sepme.cli._main import main

__all__ = ["main"]
