"""Progress bars of the libraries below are off once asked."""

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from sepme.backends.quiet import hide_chatter


def test_bars_and_notices_are_off() -> None:
    hide_chatter()
    assert not diffusers_logging.is_progress_bar_enabled()
    assert not transformers_logging.is_progress_bar_enabled()
    assert diffusers_logging.get_verbosity() == transformers_logging.get_verbosity() == 40
