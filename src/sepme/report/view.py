"""Evidence arranged for the page: strings, groups and pictures, no judgement."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from sepme.core.concept import Concept
from sepme.report.page import data_uri
from sepme.report.sentences import count, headline, percent, sentences
from sepme.verify.evidence import Evidence, Row, Triplet

_CROSS = "cross_domain_accuracy"
_SPLITS = {
    "literal": "its own prompts",
    "train": "wordings used in training",
    "heldout": "wordings never used in training",
}
_SHORT = {"literal": "own prompts", "train": "training wordings", "heldout": "new wordings"}
_STATES = ("original", "erased", "restored")


def view(evidence: Evidence) -> dict[str, Any]:
    """Everything the template shows.

    Args:
        evidence: What was found.

    Returns:
        Names to values for the template.
    """
    return {
        "title": headline(evidence),
        "outcome": _outcome(evidence),
        "verdict": evidence.verdict,
        "sentences": sentences(evidence),
        "galleries": list(_galleries(evidence)),
        "failures": evidence.failures,
        "rates": list(_rates(evidence)),
        "kept": list(_kept(evidence)),
        "drift": list(_drift(evidence)),
        "checks": evidence.checks,
        "judgements": evidence.judgements,
        "thresholds": _thresholds(evidence),
        "environment": evidence.environment,
        "detector": evidence.environment["detector"],
        "pixels": max((max(t.images[0].size) for t in evidence.grids), default=None),
    }


def _outcome(evidence: Evidence) -> tuple[str, str]:
    """Style and words of the badge."""
    if not evidence.passed:
        return "bad", "Not passed"
    if evidence.erased and not evidence.erasure_verified:
        return "open", "Erasure not verified"
    return "good", "Passed"


def _galleries(evidence: Evidence) -> Iterator[dict[str, Any]]:
    for concept in (*evidence.erased, *evidence.restored):
        cards = [_card(t, concept) for t in evidence.grids if t.concept == concept.name]
        if cards:
            erased = concept in evidence.erased
            yield {
                "name": concept.prompts[0],
                "state": "erased now" if erased else "restored now",
                "note": _note(erased=erased, alone=len(evidence.erased) == 1),
                "cards": cards,
            }


def _note(*, erased: bool, alone: bool) -> str:
    if not erased:
        return "“Erased” shows the time before it was given back."
    return f"“Restored” gives it back{'' if alone else ' while the others stay erased'}."


def _card(triplet: Triplet, concept: Concept) -> dict[str, Any]:
    shots = [
        {
            "state": state,
            "source": data_uri(image),
            "label": label,
            "hit": label == concept.name,
            "alt": f"{state}: “{triplet.prompt}”, seed {triplet.seed}"
            + (f"; the detector sees {label}" if label else ""),
        }
        for state, image, label in zip(_STATES, triplet.images, triplet.labels, strict=True)
    ]
    return {"prompt": triplet.prompt, "seed": triplet.seed, "shots": shots}


def _rates(evidence: Evidence) -> Iterator[dict[str, Any]]:
    limits = {
        "literal": evidence.thresholds.erased_literal,
        "heldout": evidence.thresholds.erased_heldout,
    }
    for concept in (*evidence.erased, *evidence.restored):
        role = "erased" if concept in evidence.erased else "restored"
        lines = []
        for split, where in _SPLITS.items():
            row = evidence.row(f"{role}_accuracy", concept.name, split)
            before = evidence.row("original_accuracy", concept.name, split)
            limit = limits.get(split) if role == "erased" else None
            if row is not None:
                lines.append(_line(where, before, row, limit))
        if lines:
            yield {"name": f"{concept.prompts[0]}, {role}", "lines": lines}


def _kept(evidence: Evidence) -> Iterator[dict[str, Any]]:
    wanted = []
    for concept in evidence.erased:
        other = "object" if concept.kind == "style" else "style"
        title = f"The {other}, when {concept.prompts[0]} is asked for too"
        wanted.append((title, concept.name, _CROSS, f"original_{_CROSS}"))
    for pool in ("styles", "objects"):
        wanted.append((f"Other {pool}", pool, "retained_accuracy", "original_accuracy"))
    for title, name, now, original in wanted:
        lines = [
            _line(where, evidence.row(original, name, split), row, None)
            for split, where in _SPLITS.items()
            if (row := evidence.row(now, name, split)) is not None
        ]
        if lines:
            yield {"name": title, "lines": lines}


def _line(what: str, before: Row | None, row: Row, limit: float | None) -> dict[str, Any]:
    return {
        "what": what,
        "before": percent(before["value"]) if before else "",
        "before_count": f"{count(before)} of {before['n']}" if before else "not drawn",
        "now": percent(row["value"]),
        "now_count": f"{count(row)} of {row['n']}",
        "interval": f"{100 * row['lo']:.1f} to {100 * row['hi']:.1f} %",
        "lo": 100 * row["lo"],
        "width": 100 * (row["hi"] - row["lo"]),
        "dot": 100 * row["value"],
        "limit": None if limit is None else 100 * limit,
        "missed": limit is not None and row["value"] > limit,
    }


def _drift(evidence: Evidence) -> list[dict[str, Any]]:
    names = {c.name: c.prompts[0] for c in (*evidence.erased, *evidence.restored)}
    names |= {"retained": "Everything kept", "blank": "The empty prompt"}
    groups: dict[str, list[dict[str, str]]] = {}
    for row in evidence.rows:
        if row["metric"] == "drift_psnr":
            lines = groups.setdefault(row["concepts"], [])
            lines.append(_moved(evidence, row))
    return [{"name": names.get(name, name), "lines": lines} for name, lines in groups.items()]


def _moved(evidence: Evidence, row: Row) -> dict[str, str]:
    features = evidence.row("drift_features", row["concepts"], row["split"])
    error = evidence.row("restore_error", row["concepts"], row["split"])
    return {
        "what": _SHORT[row["split"]],
        "psnr": "identical" if math.isinf(row["value"]) else f"{row['value']:.1f} dB",
        "features": f"{features['value']:.3f}" if features else "",
        "largest": str(error["value"]) if error else "",
        "n": str(row["n"]),
    }


def _thresholds(evidence: Evidence) -> list[tuple[str, str]]:
    limits = evidence.thresholds
    return [
        (
            "An erased concept, on its own prompts",
            f"seen at most {percent(limits.erased_literal)}",
        ),
        (
            "An erased concept, in wordings never used in training",
            f"seen at most {percent(limits.erased_heldout)}",
        ),
        (
            "What was kept or given back",
            f"accuracy falls by at most {100 * limits.retained_drop:g} points; "
            "it fails only where the whole interval lies above",
        ),
        (
            "Prompts every shift leaves alone",
            f"pixels differ by at most {limits.restore_error} of 255",
        ),
        (
            "The detector, on the original model",
            f"sees the concept at least {percent(limits.original_at_least)}",
        ),
    ]
