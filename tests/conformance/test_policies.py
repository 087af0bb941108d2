"""Every method's shift can be had by one prompt of a batch, or says in one line why it cannot."""

import pytest
import torch

from sepme.core.method import Method
from sepme.errors import MethodError
from sepme.pipeline import ErasedPipeline
from tests.conformance.cases import CASES
from tests.policies import folded, noise
from tests.tiny import TINY_CONCEPTS

TARGET, OTHER = TINY_CONCEPTS[:2]
SETS, PROMPTS = (set(), {"a"}), ("owl", "owl")


@pytest.mark.parametrize("method", CASES.values(), ids=CASES)
def test_acts_on_the_rows_of_one_prompt(method: Method, tiny_model: ErasedPipeline) -> None:
    plain = noise(tiny_model, PROMPTS, guided=True)
    shift = method.fit(tiny_model, TARGET, retain=[OTHER])
    tiny_model.erase(shift)
    tiny_model.restore("a")
    shapes = [tiny_model.sites((site,))[site].ndim for site in shift.payload.sites]
    if 4 in shapes:
        with pytest.raises(MethodError, match="changes the convolution"):
            tiny_model.policies(SETS).__enter__()
        return
    with tiny_model.policies(SETS):
        found = noise(tiny_model, PROMPTS, guided=True)
    expected = folded(tiny_model, SETS, PROMPTS, guided=True)
    assert torch.equal(found[0::2], plain[0::2])
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    if method.name != "geom-erasing":  # inverse check: it has an effect here
        assert (expected - plain).abs().max() > 1e-5 * expected.abs().max()
