"""Keeps the libraries below the backends from talking over us."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

_LIBRARIES = (diffusers_logging, transformers_logging)


def hide_chatter() -> None:
    """Switch off progress bars and notices of diffusers and transformers, for the process."""
    for library in _LIBRARIES:
        library.set_verbosity_error()
        library.disable_progress_bar()


@contextmanager
def quietly(*, bars: bool) -> Iterator[None]:
    """Run without the libraries' own remarks; every setting comes back on exit.

    Args:
        bars: Keep their progress bars, unless the user has switched them off.
    """
    before = [(lib, lib.get_verbosity(), lib.is_progress_bar_enabled()) for lib in _LIBRARIES]
    try:
        for lib, _, shown in before:
            lib.set_verbosity_error()
            _show_bars(lib, shown and bars)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for lib, level, shown in before:
            lib.set_verbosity(level)
            _show_bars(lib, shown)


def _show_bars(library: ModuleType, shown: bool) -> None:
    with warnings.catch_warnings():  # an environment variable may have the last word on it
        warnings.simplefilter("ignore", UserWarning)
        (library.enable_progress_bar if shown else library.disable_progress_bar)()
