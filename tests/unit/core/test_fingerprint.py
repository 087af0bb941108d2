from unittest.mock import patch

import pytest
import torch

from sepme.core import fingerprint as module
from sepme.core.fingerprint import fingerprint
from sepme.errors import BackendError

WEIGHTS = {"a": torch.randn(3, 4), "b": torch.arange(5), "c": torch.tensor(2.0)}


def test_order_float_type_and_layout_do_not_matter() -> None:
    half = {name: t.half() if t.is_floating_point() else t for name, t in WEIGHTS.items()}
    single = {name: t.float() if t.is_floating_point() else t for name, t in half.items()}
    assert fingerprint(half.items(), {}) == fingerprint(reversed(single.items()), {})
    turned = {**WEIGHTS, "a": WEIGHTS["a"].T.contiguous().T}
    assert fingerprint(turned.items(), {}) == fingerprint(WEIGHTS.items(), {})
    assert fingerprint(half.items(), {}) != fingerprint(WEIGHTS.items(), {})


@pytest.mark.parametrize(
    "change",
    [
        {"a": WEIGHTS["a"] + 1e-3},
        {"a": WEIGHTS["a"].reshape(4, 3)},
        {"b": WEIGHTS["b"].flip(0)},
        {"d": torch.ones(1)},
    ],
)
def test_any_other_change_matters(change: dict[str, torch.Tensor]) -> None:
    changed = {**WEIGHTS, **change}
    assert fingerprint(changed.items(), {}) != fingerprint(WEIGHTS.items(), {})


def test_extra_text_matters() -> None:
    digests = {fingerprint([], extra) for extra in ({}, {"a": "x"}, {"a": "y"}, {"b": "x"})}
    assert len(digests) == 4
    assert all(digest.startswith("sha256:") for digest in digests)


def test_chunks_do_not_matter() -> None:
    whole = fingerprint(WEIGHTS.items(), {})
    with patch.object(module, "_CHUNK_NUMBERS", 5):
        assert fingerprint(WEIGHTS.items(), {}) == whole


def test_a_name_comes_once() -> None:
    with pytest.raises(BackendError, match="twice"):
        fingerprint([("a", WEIGHTS["a"])] * 2, {})
