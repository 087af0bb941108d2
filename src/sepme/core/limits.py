"""What a hyper-parameter may be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Limits:
    """Type and range of a hyper-parameter; in words when printed.

    Attributes:
        kind: ``str``, ``int``, ``float`` or ``bool``.
        above: A number must be larger than this.
        least: A number must be at least this.
        most: A number must be at most this.
        one_of: A text must be one of these, if there are any.

    Example:
        >>> limits = Limits(float, above=0, most=1)
        >>> limits.fit(0.5), limits.fit(0), str(limits)
        (True, False, 'a finite number above 0 and at most 1')
    """

    kind: type
    above: float | None = None
    least: float | None = None
    most: float | None = None
    one_of: tuple[str, ...] = ()

    def fit(self, value: Any) -> bool:  # noqa: ANN401 (anything the user may write)
        """Whether a value, of whatever type, is allowed."""
        if self.kind is str:
            return isinstance(value, str) and (not self.one_of or value in self.one_of)
        if self.kind is bool:
            return isinstance(value, bool)
        kinds = (int,) if self.kind is int else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool) or not math.isfinite(value):
            return False
        return (
            (self.above is None or value > self.above)
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
        )

    def __str__(self) -> str:
        """Such as "a whole number above 0"."""
        if self.kind is str:
            return " or ".join(map(repr, self.one_of)) or "a text"
        if self.kind is bool:
            return "true or false"
        bounds = {"above": self.above, "at least": self.least, "at most": self.most}
        said = " and ".join(f"{k} {v:g}" for k, v in bounds.items() if v is not None)
        return f"a {'whole' if self.kind is int else 'finite'} number {said}".rstrip()
