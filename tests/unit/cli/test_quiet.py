"""stderr carries our lines only, and all of them."""

import logging
import subprocess
import sys

from tests.unit.cli.conftest import start

LOUD = """
import logging, warnings
from sepme.cli._quiet import silence_others
from sepme.cli._screen import Screen
silence_others(Screen(), offline=True)
import os, transformers
assert os.environ["HF_HUB_OFFLINE"] == "1"
from sepme.backends.quiet import hide_chatter
hide_chatter()
warnings.warn_explicit("theirs", FutureWarning, "f.py", 1, module="torch.nn")
warnings.warn_explicit("theirs", UserWarning, "f.py", 1, module="diffusers")
logging.getLogger("safetensors").warning("theirs")
transformers.utils.logging.get_logger("transformers.x").warning("theirs")
logging.getLogger("sepme.io.x").warning("ours, logged")
warnings.warn_explicit("ours, warned", UserWarning, "f.py", 1, module="sepme.x")
"""


def test_others_are_silent_and_we_are_not() -> None:
    done = subprocess.run([sys.executable, "-c", LOUD], check=True, capture_output=True, text=True)
    assert "theirs" not in done.stderr
    assert "warning: ours, logged\n" in done.stderr
    assert "ours, warned" in done.stderr


def test_loading_the_demo_says_one_line(tmp_path) -> None:
    words = ["generate", "a cat", "--steps", "1", "--out", tmp_path / ("long" * 20)]
    for quiet, expected in (([], ["loading model demo ...", "drawing 1 ..."]), (["-q"], [])):
        out, err = start(*words, *quiet).communicate()
        assert err.splitlines() == expected
        assert out.splitlines()[0].endswith("-a-cat.png")


def test_handlers_do_not_pile_up() -> None:
    from sepme.cli._quiet import silence_others
    from sepme.cli._screen import Screen

    for _ in range(3):
        silence_others(Screen(), offline=False)
    ours = [h for h in logging.getLogger("sepme").handlers if type(h).__name__ == "_Ours"]
    assert len(ours) == 1
