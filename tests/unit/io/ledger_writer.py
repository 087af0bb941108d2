"""What the processes of the ledger tests do; they are killed at any instant."""

import random
from multiprocessing.connection import Connection
from pathlib import Path

from sepme.io.ledger_dir import LedgerDir
from tests.shifts import make_shift

Operation = tuple[str, str | None]
"""A concept's name and the digest of its new shift, or None to restore it."""


def write_forever(folder: Path, seed: int, report: Connection) -> None:
    """Erase and restore at random; report each operation before it starts and when it is done."""
    draw = random.Random(seed)
    shifts = {name: [make_shift(name, seed=seed) for seed in range(2)] for name in "abc"}
    ledger_dir = LedgerDir(folder)
    while True:
        name = draw.choice("abc")
        shift = draw.choice(shifts[name])
        restore = name in ledger_dir.ledger.erased and draw.random() < 0.5
        report.send(("start", (name, None if restore else shift.digest)))
        if restore:
            ledger_dir.restore(name)
        else:
            ledger_dir.erase(shift)
        report.send(("done", None))


def erase_all(folder: Path, names: list[str]) -> None:
    ledger_dir = LedgerDir(folder, timeout=60)
    for name in names:
        ledger_dir.erase(make_shift(name))
