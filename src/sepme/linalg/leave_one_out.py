"""What several sets of rows leave free when each of them in turn is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from sepme.errors import NullSpaceExhausted
from sepme.linalg.null_space import NullSpace, folded, null_space
from sepme.linalg.wide import finite64

T = TypeVar("T")

_AT_ONCE = 8
"""Sets that are folded before it is asked again whether they leave any room."""


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


def rooms(
    always: Sequence[T], sets: Sequence[T], read: Callable[[T], Tensor], *, rtol: float = 1e-6
) -> tuple[NullSpace | None, ...]:
    """As `leave_one_out`, of rows that are read no further than it takes to know.

    If what is never left out uses every direction, or beside it two groups that share no set each
    do, nobody has room, whatever else there is. "Uses" is judged by ``rtol`` of the rows read so
    far: rows much larger than these, read later, could count a direction as free that is not.

    Args:
        always: What is never left out, at least one.
        sets: What is left out in turn.
        read: Rows ``(n, d)`` of each, any floating dtype.
        rtol: As for `sepme.linalg.null_space.null_space`.

    Returns:
        For each set its null space, or None if nothing is left.

    Raises:
        MethodError: If a number is not finite.

    Example:
        >>> asked = []
        >>> rooms("a", "bc", lambda name: asked.append(name) or torch.eye(2))
        (None, None)
        >>> asked
        ['a']
    """
    rest = map(read, sets)
    kept, full = _filled([], map(read, always), rtol)
    if full or all(_filled([kept], rest, rtol)[1] for _ in range(2)):
        return (None,) * len(sets)
    return leave_one_out(torch.cat([read(x) for x in always]), [read(x) for x in sets], rtol=rtol)


def rank(sets: Iterable[Tensor], *, rtol: float = 1e-6) -> int:
    """Directions that some sets of rows use, read no further than until all are used.

    "Used" is judged as in `rooms`.

    Args:
        sets: At least one, ``(n, d)`` each, any floating dtype.
        rtol: As for `sepme.linalg.null_space.null_space`.

    Returns:
        Their number, at most ``d``.

    Raises:
        MethodError: If a number is not finite.

    Example:
        >>> rank([torch.eye(2, 3), torch.ones(1, 3)])
        3
    """
    return _used(_filled([], iter(sets), rtol)[0], rtol)


def _filled(before: list[Tensor], sets: Iterator[Tensor], rtol: float) -> tuple[Tensor, bool]:
    """Sets folded onto rows before them, up to where they use every direction; whether they do."""
    while more := [finite64(own) for own in islice(sets, _AT_ONCE)]:
        before = [folded(torch.cat([*before, *more]))]
        if _used(before[0], rtol) == before[0].shape[1]:
            return before[0], True
    return before[0], False


def _used(rows: Tensor, rtol: float) -> int:
    values = torch.linalg.svdvals(rows)
    return int((values > rtol * values.max()).sum())


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
