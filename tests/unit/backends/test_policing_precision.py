"""Policies in the precisions that models are served in."""

from dataclasses import replace

import pytest
import torch

import sepme
from tests.policies import FIG, OWL, PROMPTS, SETS, folded, held, noise, off, policed, shift_of


@pytest.mark.parametrize("kinds", [("site", "text"), ("text of values", "site")], ids="+".join)
def test_rounds_as_folded_weights_do_in_float32(tiny_model, tiny_folder, kinds) -> None:
    """Both are as far from float64, so neither is the one that rounds."""
    wide = sepme.load(tiny_folder, dtype=torch.float64)
    made = [shift_of(k, tiny_model, c) for k, c in zip(kinds, (OWL, FIG), strict=True)]
    held(tiny_model, *made)
    held(wide, *(replace(m, provenance=replace(m.provenance, base=wide.fingerprint)) for m in made))
    truth = folded(wide, SETS, PROMPTS, guided=True)
    expected, found = (
        folded(tiny_model, SETS, PROMPTS, guided=True),
        policed(tiny_model, guided=True),
    )
    assert off(found, expected).max() < 1e-5
    assert off(found, truth).max() < 2 * off(expected, truth).max()
    pristine = noise(tiny_model, PROMPTS, guided=True)  # inverse check: it has an effect here
    assert off(pristine, truth).max() > 1e-2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_equals_folded_weights_in_half_precision(tiny_folder, dtype: torch.dtype) -> None:
    model = sepme.load(tiny_folder, dtype=dtype)
    held(model, shift_of("site", model, OWL, 1), shift_of("text", model, FIG, 2))
    expected = folded(model, SETS, PROMPTS, guided=True)
    pristine = noise(model, PROMPTS, guided=True)
    found = policed(model, guided=True)
    assert found.dtype == dtype
    assert off(found, expected).max() < 4 * torch.finfo(dtype).eps
    assert torch.equal(found[1::4], pristine[1::4])
    assert off(pristine, expected).max() > 8 * torch.finfo(dtype).eps  # inverse check
