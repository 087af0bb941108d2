"""What a process holds in memory."""

from __future__ import annotations

import sys


def peak_memory_mb() -> float | None:
    """Largest resident set of this process so far, in MB; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)
