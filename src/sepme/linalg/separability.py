"""How far shifts reach into the concepts of one another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from sepme.errors import MethodError


def separability_matrix(
    embeddings: Sequence[Tensor], deltas: Iterable[Mapping[str, Tensor]]
) -> Tensor:
    """Effect of every shift on every concept, relative to its effect on its own.

    Entry ``(i, j)`` is ``|dW_i E_j| / |dW_i E_i|``, root mean squares over embedding rows, summed
    in squares over sites, so that a concept with more prompts does not count for more. The diagonal
    is 1; zeros elsewhere mean that each concept can be erased and restored without touching the
    others' prompts (SRS-ME, weight decoupling, eq. 22-26).

    Args:
        embeddings: Token embeddings of each concept's prompts, ``(..., d_text)``, any floating
            dtype.
        deltas: Each concept's shift, in the same order: site to dense change ``(d_out, d_text)``.
            Read one at a time, so a generator keeps one shift in memory.

    Returns:
        ``(n, n)``, at least 0, float64 (dimensionless); row = shift, column = concept.

    Raises:
        MethodError: If there are not as many shifts as concepts, shapes do not fit, a number is not
            finite, or a shift does nothing to its own concept.

    Example:
        >>> own = torch.eye(3)
        >>> deltas = [{"to_k": torch.diag(row)} for row in (own[0], own[1] + own[2])]
        >>> separability_matrix([own[:1], own[1:2]], deltas)
        tensor([[1., 0.],
                [0., 1.]], dtype=torch.float64)
    """
    rows = [_rows(concept) for concept in embeddings]
    effects = [_effects(rows, delta) for delta in deltas]
    if len(effects) != len(rows) or not rows:
        raise MethodError(
            f"one shift per concept is needed, got {len(effects)} for {len(rows)} concepts. "
            "Give both in the same order."
        )
    table = torch.stack(effects)
    own = table.diagonal()
    if not torch.isfinite(table).all():
        raise MethodError("embeddings or shifts hold numbers that are not finite. Fit them again.")
    if idle := (own == 0).nonzero().flatten().tolist():
        raise MethodError(
            f"shift {idle[0]} does nothing to its own concept, so nothing is relative to it. "
            "Check that shifts and concepts are in the same order."
        )
    return table / own[:, None]


def _effects(rows: Sequence[Tensor], delta: Mapping[str, Tensor]) -> Tensor:
    """Root mean square effect of one shift on each concept, over all sites."""
    squares = torch.zeros(len(rows), dtype=torch.float64)
    for site, change in sorted(delta.items()):
        if change.ndim != 2 or any(concept.shape[1] != change.shape[1] for concept in rows):
            widths = sorted({concept.shape[1] for concept in rows})
            raise MethodError(
                f"site {site!r} needs a change of (d_out, d_text) with d_text = {widths}, "
                f"got {tuple(change.shape)}. Encode the prompts with the model it was fitted on."
            )
        right = change.detach().to("cpu", torch.float64).T
        squares += torch.stack([(concept @ right).square().sum(1).mean() for concept in rows])
    return squares.sqrt()


def _rows(embeddings: Tensor) -> Tensor:
    if embeddings.ndim < 2 or not embeddings.numel():
        raise MethodError(
            f"a concept needs embedding rows (..., d_text), got {tuple(embeddings.shape)}. "
            "Encode at least one prompt."
        )
    return embeddings.detach().to("cpu", torch.float64).reshape(-1, embeddings.shape[-1])
