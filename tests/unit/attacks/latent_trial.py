"""A trial on the tiny model, for attacks on latents and embeddings."""

from __future__ import annotations

from sepme.backends.subject import DiffusionSubject
from sepme.core.attack import Example, Judge, Trial
from sepme.pipeline import ErasedPipeline
from tests.tiny import TINY_CONCEPTS, null_space_shift

EXAMPLES = (Example("owl", 1), Example("owl b", 2), Example("fig", 3))


def never(images: list) -> list[bool]:
    """The judge that sees nothing."""
    return [False] * len(images)


def tiny_trial(
    model: ErasedPipeline,
    *,
    judge: Judge = never,
    examples: tuple[Example, ...] = EXAMPLES,
    steps: int = 5,
) -> Trial:
    """A model with its first concept erased, beside the original."""
    original = DiffusionSubject.snapshot(model.pipeline, guidance_scale=4.0)
    model.erase(null_space_shift(model, TINY_CONCEPTS[0]))
    erased = DiffusionSubject.snapshot(model.pipeline, guidance_scale=4.0)
    return Trial(erased, original, TINY_CONCEPTS[0], judge, examples, steps=steps)
