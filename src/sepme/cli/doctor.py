"""``sepme doctor``."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import typer
from rich.text import Text

from sepme.cli._app import DEMO, SETUP, Run, command
from sepme.cli._screen import mark, table
from sepme.errors import SepmeError

_REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)>=([0-9.]+)$")
_OLDEST_PYTHON = (3, 11)
_ENOUGH_DISK = 2**30
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True)
class Check:
    """One line of the examination.

    Attributes:
        what: What was looked at.
        found: What was found.
        expected: What would be right.
        ok: False if something will not work.
    """

    what: str
    found: str
    expected: str = ""
    ok: bool = True


@command(panel=SETUP)
def doctor(run: Run) -> None:
    """Check this installation; exits with 1 if something is broken."""
    run.screen.say("looking ...")
    checks = [_python(), *_packages(), *_torch(), _demo(run), _disk(), _network()]
    good = all(check.ok for check in checks)
    rows = [(c.what, c.found, c.expected, mark(c.ok, no="BROKEN")) for c in checks]
    broken = ", ".join(check.what for check in checks if not check.ok)
    verdict = "Everything works." if good else f"Broken: {broken}. Reinstall: pip install -U sepme"
    run.screen.result(
        {"ok": good, "checks": [vars(check) for check in checks]},
        table(("what", "found", "expected", ""), rows),
        Text(verdict, style="bold"),
    )
    if not good:
        raise typer.Exit(1)


def _python() -> Check:
    oldest = ".".join(map(str, _OLDEST_PYTHON))
    ok = sys.version_info[:2] >= _OLDEST_PYTHON
    return Check("python", platform.python_version(), f"{oldest} or newer", ok)


def _packages() -> list[Check]:
    """The core dependencies against the oldest versions the tests have run on."""
    checks = []
    for line in requires("sepme") or ():
        if (match := _REQUIREMENT.match(line)) is None:
            continue
        name, oldest = match.groups()
        try:
            found = version(name)
        except PackageNotFoundError:
            checks.append(Check(name, "not installed", f"{oldest} or newer", ok=False))
        else:
            ok = _numbers(found) >= _numbers(oldest)
            checks.append(Check(name, found, f"{oldest} or newer", ok))
    return sorted(checks, key=lambda check: check.what)


def _numbers(release: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", release.partition("+")[0])]


def _torch() -> list[Check]:
    try:
        import torch
    except Exception as error:
        return [Check("torch imports", _first_line(error), "", ok=False)]
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [
        Check("devices", ", ".join(devices)),
        Check("threads", f"{torch.get_num_threads()} of {os.cpu_count()} cores"),
    ]


def _demo(run: Run) -> Check:
    try:
        model = run.load(DEMO)
    except SepmeError as error:
        return Check("demo model", str(error), "loads", ok=False)
    except Exception as error:  # whatever is broken, the table must still appear
        return Check("demo model", _first_line(error), "loads", ok=False)
    return Check("demo model", model.fingerprint[: len("sha256:") + 16], "loads")


def _disk() -> Check:
    free = shutil.disk_usage(Path()).free
    return Check("free disk here", f"{free / 2**30:.1f} GB", "1 GB or more", free >= _ENOUGH_DISK)


def _network() -> Check:
    flags = [f"{name}={os.environ[name]}" for name in _OFFLINE if name in os.environ]
    return Check("offline flags", ", ".join(flags) or "none: hub models may be downloaded")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
