"""Evidence after the fact: what is forgotten, what is kept, what comes back bit for bit."""

from sepme.verify.evidence import Check, Evidence, Thresholds, Triplet
from sepme.verify.run import verify

__all__ = ["Check", "Evidence", "Thresholds", "Triplet", "verify"]
