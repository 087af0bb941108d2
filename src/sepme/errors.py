"""Every error sepme raises on purpose, and the exit code the command line gives it.

    SepmeError                       1  anything below
    +-- ConceptError                 2  a concept that is not well formed
    +-- MethodError                  1  a method that cannot do what was asked
    |   +-- UnknownMethod            2  no method of that name
    |   +-- NullSpaceExhausted       4  the retained prompts leave no direction free
    |   +-- NotSeparable             4  the concept cannot be told apart, or undone, on its own
    |   +-- Diverged                 1  training left the finite numbers
    +-- LedgerError                  1  a ledger that cannot do what was asked
    |   +-- BaseMismatch             5  a shift made for another base model
    |   +-- NotErased                2  no erased concept of that name
    |   +-- Interference             1  shifts that would disturb each other
    |   +-- LedgerCorrupt            1  a ledger that contradicts its own history
    +-- ShiftFileError               1  a file that is not a usable shift
    +-- BackendError                 1  a model that cannot be loaded or driven
    +-- SpecError                    2  a configuration that is not well formed

A message says what was got, what was expected and what to do next, in one line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

_SHOWN_CHARACTERS = 80


class SepmeError(Exception):
    """Base of every error sepme raises on purpose."""

    exit_code: ClassVar[int] = 1


class ConceptError(SepmeError):
    """A concept is not well formed."""

    exit_code = 2


class MethodError(SepmeError):
    """A method cannot do what was asked of it."""


class UnknownMethod(MethodError):
    """No method is registered under that name."""

    exit_code = 2


class NullSpaceExhausted(MethodError):
    """The prompts to leave alone span the whole text space, so no shift can avoid them."""

    exit_code = 4


class NotSeparable(MethodError):
    """A concept cannot be told apart from others, or cannot be undone without them."""

    exit_code = 4


class Diverged(MethodError):
    """A fit produced numbers that are not finite."""


class LedgerError(SepmeError):
    """A ledger cannot do what was asked of it."""


class BaseMismatch(LedgerError):
    """A shift was made for another base model than the one it meets."""

    exit_code = 5


class NotErased(LedgerError):
    """No erased concept has that name."""

    exit_code = 2


class Interference(LedgerError):
    """Shifts that would disturb each other were asked to be active together."""


class LedgerCorrupt(LedgerError):
    """A ledger contradicts its own history or cannot be read."""


class ShiftFileError(SepmeError):
    """A file is not a shift sepme can use."""


class BackendError(SepmeError):
    """A model cannot be loaded or driven."""


class SpecError(SepmeError):
    """A configuration is not well formed."""

    exit_code = 2


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Closing sentence of an "unknown name" message: the nearest known name, else all of them.

    Args:
        name: The name that was not found.
        known: The names that would have been.

    Returns:
        One sentence.

    Example:
        >>> did_you_mean("van-gog", ["hokusai", "van-gogh"])
        "Did you mean 'van-gogh'?"
        >>> did_you_mean("x", ["hokusai", "van-gogh"])
        'Known: hokusai, van-gogh.'
    """
    names = sorted(known)
    if near := difflib.get_close_matches(name, names, n=1):
        return f"Did you mean {near[0]!r}?"
    return f"Known: {', '.join(names) or 'none'}."


def shown(value: object) -> str:
    """Representation of a foreign value that is safe to put in a one-line message.

    Args:
        value: Anything, possibly hostile.

    Returns:
        Its ``repr``, cut to 80 characters.

    Example:
        >>> shown("x" * 1000)[-9:]
        'xxxxxx...'
    """
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."
