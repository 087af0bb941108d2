"""Names for base models: equal weights, equal name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from sepme.core.record import canonical_json
from sepme.errors import BackendError

_CHUNK_NUMBERS = 2**20


def fingerprint(weights: Iterable[tuple[str, Tensor]], extra: Mapping[str, str]) -> str:
    """SHA-256 of named weights and texts, whatever order and float type they come in.

    Values are hashed as float32, so a model stored in float16 has one fingerprint whether it is
    loaded as float16 or as float32. Memory use is a few megabytes: weights can be a generator.

    Args:
        weights: Pairs of a name and a tensor of any shape, dtype and device; names are distinct.
        extra: Name to text that belongs to the model's identity, such as its tokenizer.

    Returns:
        ``"sha256:"`` and 64 lower-case hexadecimal digits.

    Raises:
        BackendError: If a name comes twice.

    Example:
        >>> one = fingerprint([("w", torch.ones(2))], {})
        >>> one == fingerprint([("w", torch.ones(2, dtype=torch.float16))], {})
        True
    """
    digests: dict[str, str] = {}
    for name, tensor in weights:
        if name in digests:
            raise BackendError(f"weight {name!r} was given twice; a fingerprint needs it once.")
        digests[name] = _tensor_digest(tensor)
    identity = canonical_json({"weights": digests, "extra": dict(extra)})
    return f"sha256:{hashlib.sha256(identity.encode()).hexdigest()}"


def _tensor_digest(tensor: Tensor) -> str:
    kind = torch.float32 if tensor.is_floating_point() else torch.int64
    state = hashlib.sha256(canonical_json([str(kind), list(tensor.shape)]).encode())
    for chunk in torch.split(tensor.detach().reshape(-1), _CHUNK_NUMBERS):
        state.update(chunk.to("cpu", kind).contiguous().numpy().data)
    return state.hexdigest()
