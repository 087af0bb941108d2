"""The main job from a cold start: ``sepme erase`` of one style, then ``sepme restore``.

Every run is a new process on a new ledger; time includes starting Python, loading the model and
writing the ledger. Peak memory is the process's largest resident set.

    python benchmarks/main_job.py [--runs N] [--style NAME] [--json]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from harness import parser, row, show

import sepme

KILOBYTE = 1 if sys.platform != "darwin" else 1 / 1024  # ru_maxrss: kilobytes, on macOS bytes


def run(*words: str) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of one ``sepme`` command.

    Args:
        words: Its arguments.

    Returns:
        Seconds and MB.

    Raises:
        SystemExit: If the command fails.
    """
    code = "import sys; from sepme.cli import main; sys.exit(main())"
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words], stdout=output, stderr=output
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"sepme {' '.join(words)} failed:\n{output.read().decode()}")
    return seconds, usage.ru_maxrss * KILOBYTE / 1024


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--runs", type=int, default=3)
    styles = [concept.name for concept in sepme.demo.concepts() if concept.kind == "style"]
    arguments.add_argument("--style", choices=styles, default=styles[0])
    chosen = arguments.parse_args()
    erased, restored = [], []
    for _ in range(chosen.runs):
        with tempfile.TemporaryDirectory() as folder:
            ledger = str(Path(folder) / "ledger")
            erased.append(run("erase", chosen.style, "--model", "demo", "--ledger", ledger))
            restored.append(run("restore", chosen.style, "--ledger", ledger))
    rows = [
        row(
            work,
            "demo",
            1,
            median(seconds for seconds, _ in runs),
            peak_memory_mb=median(peak for _, peak in runs),
            slowest=max(seconds for seconds, _ in runs),
            n=len(runs),
        )
        for work, runs in (("erase", erased), ("restore", restored))
    ]
    show(rows, as_json=chosen.json)


if __name__ == "__main__":
    main()
