"""What several sets of rows leave free when each of them in turn is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sepme.errors import NullSpaceExhausted
from sepme.linalg.null_space import NullSpace, folded, null_space
from sepme.linalg.wide import finite64


def leave_one_out(
    always: Tensor, sets: Sequence[Tensor], *, rtol: float = 1e-6
) -> tuple[NullSpace | None, ...]:
    """For each set, the directions that neither the other sets nor ``always`` use.

    The sets are halved again and again, and what a half must leave alone is folded into at most
    ``d`` rows on the way, so that ``n`` sets cost ``n log n`` foldings instead of ``n^2``. Where a
    half has no room at all, none of its members has, and it is not looked into.

    Args:
        always: Rows that are never left out, ``(n, d)``, at least one.
        sets: Rows of each set, ``(n_k, d)``.
        rtol: As for `sepme.linalg.null_space.null_space`.

    Returns:
        For each set its null space, or None if nothing is left; the leak is that of folded rows.

    Raises:
        MethodError: If a number is not finite.

    Example:
        >>> x, y, z = torch.eye(3).split(1)
        >>> [space.rank for space in leave_one_out(x, [y, z])]
        [2, 2]
    """
    if not len(sets):
        return ()
    return tuple(_spaces(folded(finite64(always)), [finite64(own) for own in sets], rtol))


def _spaces(always: Tensor, sets: Sequence[Tensor], rtol: float) -> Iterator[NullSpace | None]:
    try:
        space = null_space(always, rtol=rtol)
    except NullSpaceExhausted:
        yield from [None] * len(sets)
        return
    if len(sets) == 1:
        yield space
        return
    middle = len(sets) // 2
    first, second = sets[:middle], sets[middle:]
    for own, other in ((first, second), (second, first)):
        yield from _spaces(folded(torch.cat([always, *other])), own, rtol)
