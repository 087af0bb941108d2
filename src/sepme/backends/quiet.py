"""Keeps the libraries below the backends from talking over us."""

from __future__ import annotations

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging


def hide_chatter() -> None:
    """Switch off progress bars and notices of diffusers and transformers, for the process."""
    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
