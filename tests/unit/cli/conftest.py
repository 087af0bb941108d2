"""Running the command line in this process and in another one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from sepme.cli import main
from tests.tiny import build_tiny

PRESET = {"max_steps": 3, "images": 2, "pool": 4, "bins": 4, "scale": 0.05}
"""Three steps: too few for the momentum stop, enough for a shift that is not zero."""


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    def one_error(self, code: int) -> str:
        """The one line that an error gives, besides progress."""
        assert self.code == code, self
        assert "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        return lines[0]


Cli = Callable[..., Result]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """``cli("status", "--ledger", path)`` in this process."""

    def call(*words: object) -> Result:
        capsys.readouterr()
        with mock.patch.dict(os.environ, {"COLUMNS": "80"}), pytest.raises(SystemExit) as ending:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Result(int(ending.value.code or 0), out, err)

    return call


SNIPPET = "import sys; sys.argv[0] = 'sepme'; from sepme.cli import main; main()"


def start(*words: object, **options: Any) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    environment = {**os.environ, "COLUMNS": "80", "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    command = [sys.executable, "-c", SNIPPET, *map(str, words)]
    return subprocess.Popen(command, env=environment, **pipes)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that fits in milliseconds."""
    folder = build_tiny(tmp_path_factory.mktemp("model") / "tiny")
    path = folder / "sepme.json"
    facts = {**json.loads(path.read_text()), "presets": {"sepme": PRESET, "sepme-joint": PRESET}}
    path.write_text(json.dumps(facts))
    return folder


@pytest.fixture
def ledger(cli: Cli, tiny: Path, tmp_path: Path) -> Path:
    """A ledger of the tiny model with two concepts erased."""
    folder = tmp_path / "ledger"
    assert cli("erase", "owl", "fig", "--model", tiny, "--ledger", folder, "-q").code == 0
    return folder
