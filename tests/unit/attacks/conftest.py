"""Subjects of the tiny pipeline."""

import pytest

from sepme.backends.subject import DiffusionSubject
from sepme.core.attack import Example, Trial
from sepme.pipeline import ErasedPipeline
from tests.tiny import TINY_CONCEPTS, null_space_shift


@pytest.fixture
def trial(tiny_model: ErasedPipeline) -> Trial:
    scale = tiny_model.backend.sidecar.guidance_scale
    original = DiffusionSubject.snapshot(tiny_model.pipeline, guidance_scale=scale)
    tiny_model.erase(null_space_shift(tiny_model, TINY_CONCEPTS[0], size=3.0))
    erased = DiffusionSubject.snapshot(tiny_model.pipeline, guidance_scale=scale)
    examples = (Example("owl", 1), Example("an owl", 2))
    return Trial(erased, original, TINY_CONCEPTS[0], lambda ims: [False] * len(ims), examples, 2)
