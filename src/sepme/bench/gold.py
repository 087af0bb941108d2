"""Models that were never taught a concept: the floor beside which erasure is judged."""

from __future__ import annotations

from pathlib import Path

from sepme.core.concept import Concept
from sepme.errors import BackendError
from sepme.pipeline import ErasedPipeline, load


def never_taught(
    concept: Concept, folder: str | Path, judged_like: ErasedPipeline
) -> ErasedPipeline:
    """The gold retrain for a concept.

    Args:
        concept: The concept.
        folder: Where there is a diffusers directory ``gold-NAME``.
        judged_like: The model whose detector is used.

    Returns:
        The model, with nothing erased.

    Raises:
        BackendError: If there is no such directory.
    """
    place = Path(folder) / f"gold-{concept.name}"
    if not (place / "model_index.json").exists():
        raise BackendError(
            f"{place} is no diffusers directory; `python -m demo_model.gold` builds the demo's "
            "gold models."
        )
    model = load(place, offline=True)
    model.detector = judged_like.detector
    return model
