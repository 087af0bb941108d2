"""A benchmark that is killed, again and again, ends with the figures of one that was not."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = [
    *(sys.executable, "-c", "import sys, sepme.cli; sys.exit(sepme.cli.main())"),
    *("bench", "scenes", "--method", "uce", "--least", "4", "--json", "--quiet"),
    *("--set", "scenes=[3]", "--set", "steps=3"),
]
KILLS = 4
PATIENCE = 120


def start(cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([*RUN, "--cache", str(cache)], stdout=subprocess.PIPE, text=True)


def finished(cache: Path) -> dict:
    run = start(cache)
    printed, _ = run.communicate(timeout=600)
    assert run.returncode == 0
    return json.loads(printed)


def kept(cache: Path) -> int:
    return len(list(cache.rglob("images/*.safetensors")))


def without_times(result: dict) -> dict:
    told = {k: v for k, v in result["environment"].items() if k not in ("date", "seconds")}
    return {"rows": result["rows"], "environment": told}


@pytest.mark.slow
def test_killed_at_random_points(tmp_path: Path) -> None:
    whole = finished(tmp_path / "whole")
    dice, cache = random.Random(0), tmp_path / "killed"
    for _ in range(KILLS):
        run, goal, end = start(cache), kept(cache) + dice.randint(0, 4), time.monotonic() + PATIENCE
        while kept(cache) < goal and run.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(dice.random() / 4)
        run.send_signal(signal.SIGKILL)
        printed, _ = run.communicate()
        assert run.returncode == -signal.SIGKILL, "it ended before it was killed"
        assert not printed
    assert 0 < kept(cache) < kept(tmp_path / "whole")
    assert without_times(finished(cache)) == without_times(whole)
    assert kept(cache) == kept(tmp_path / "whole"), "something was drawn twice under another key"
