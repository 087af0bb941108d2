"""Named, lazily imported plug-ins: the one way to extend sepme."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar, cast

from sepme.errors import SepmeError, SpecError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Read-only table from a name to an object that is imported when first asked for.

    Rows are written in the source (``"module:attribute"``) or added by other distributions
    through the entry-point group ``sepme.<kind>s``. Iteration is sorted by name.

    Args:
        kind: What the rows are, singular; used in messages and in the group's name.
        rows: Built-in rows, name to ``"module:attribute"``.
        error: Raised for a name that is not there.

    Raises:
        SpecError: If a row is not of the form ``"module:attribute"``.

    Example:
        >>> numbers = Registry[type]("number", {"fraction": "fractions:Fraction"})
        >>> numbers["fraction"](1, 2)
        Fraction(1, 2)
        >>> list(numbers), "decimal" in numbers
        (['fraction'], False)
    """

    def __init__(
        self, kind: str, rows: Mapping[str, str], *, error: type[SepmeError] = SpecError
    ) -> None:
        """Keep the rows; nothing is imported yet."""
        for name, target in rows.items():
            _check_target(kind, name, target)
        self.kind = kind
        self._built_in = dict(rows)
        self._error = error

    def __getitem__(self, name: str) -> T:
        """Import the object registered as ``name``."""
        if name not in self._rows:
            raise self._error(f"no {self.kind} is named {name!r}. {did_you_mean(name, self)}")
        module, _, attribute = self._rows[name].partition(":")
        try:
            return cast(T, getattr(import_module(module), attribute))
        except (ImportError, AttributeError) as error:
            raise SpecError(
                f"{self.kind} {name!r} is registered as {self._rows[name]!r}, "
                f"which does not import: {error}. Install what it needs or correct the row."
            ) from error

    def __contains__(self, name: object) -> bool:
        """Whether ``name`` is registered, without importing it."""
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        """Names in sorted order, without importing anything."""
        return iter(sorted(self._rows))

    def __len__(self) -> int:
        """Number of names."""
        return len(self._rows)

    @cached_property
    def _rows(self) -> dict[str, str]:
        rows = dict(self._built_in)
        for point in entry_points(group=f"sepme.{self.kind}s"):
            if rows.get(point.name, point.value) != point.value:
                raise SpecError(
                    f"{self.kind} {point.name!r} is registered twice, as {rows[point.name]!r} "
                    f"and {point.value!r}. Uninstall one of the two distributions."
                )
            _check_target(self.kind, point.name, point.value)
            rows[point.name] = point.value
        return rows


def _check_target(kind: str, name: str, target: str) -> None:
    module, _, attribute = target.partition(":")
    if not module or not attribute.isidentifier():
        raise SpecError(f"{kind} {name!r} needs a 'module:attribute' row, got {target!r}.")
