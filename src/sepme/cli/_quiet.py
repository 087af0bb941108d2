"""The one place where other libraries' chatter is silenced; ours stays."""

from __future__ import annotations

import logging
import os
import sys
import warnings

from sepme.cli._screen import Screen

_SILENT = {  # read by the libraries when they are first imported
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_SECONDS_BETWEEN_LINES = "15"


class _Ours(logging.Handler):
    """Shows sepme's own log records as lines of the screen."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self.screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self.screen.warn(record.getMessage())


def silence_others(screen: Screen, *, offline: bool) -> None:
    """Prepare the process, before any heavy library is imported.

    Variables that the user has set win. Progress bars are ours only; in a log file they are rare
    lines, with ``--quiet`` they are off.

    Args:
        screen: Where our own log records go.
        offline: Keep every library from the network.
    """
    for name, value in _SILENT.items():
        os.environ.setdefault(name, value)
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    if screen.quiet:
        os.environ["TQDM_DISABLE"] = "1"
    elif not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DELAY", _SECONDS_BETWEEN_LINES)
        os.environ.setdefault("TQDM_MININTERVAL", _SECONDS_BETWEEN_LINES)
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("default", category=UserWarning, module=r"sepme(\..*)?")
    logging.getLogger().addHandler(logging.NullHandler())  # else unhandled records reach stderr
    ours = logging.getLogger("sepme")
    for handler in [h for h in ours.handlers if isinstance(h, _Ours)]:
        ours.removeHandler(handler)
    ours.addHandler(_Ours(screen))
