"""Plain data at the border: canonical JSON, digests of it, and strict reading of foreign data."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, TypeAlias

from sepme.errors import SepmeError, shown

Scalar: TypeAlias = str | int | float | bool | None
"""What a JSON field can hold besides lists and objects."""

_EXACT_IN_FLOAT = 2**53
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(value: object) -> str:
    """The one JSON text of a value: ASCII, sorted keys, no spaces, finite numbers.

    Args:
        value: Dictionaries, lists, tuples and JSON scalars.

    Returns:
        Text that is equal for equal values, and safe to hash.

    Example:
        >>> canonical_json({"b": (1, 2.5), "a": None})
        '{"a":null,"b":[1,2.5]}'
    """
    return _CANONICAL.encode(value)


def sha256_of(value: object) -> str:
    """SHA-256 of a value's canonical JSON.

    Args:
        value: As for `canonical_json`.

    Returns:
        64 lower-case hexadecimal digits.
    """
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@cache
def versions(*packages: str) -> Mapping[str, str]:
    """Installed versions by package, looked up once.

    Args:
        packages: Names of distributions.
    """
    return {package: version(package) for package in packages}


def parse_json(text: str | bytes, *, what: str, error: type[SepmeError]) -> object:
    """Read foreign JSON; nothing but ``error`` escapes, whatever the text.

    Args:
        text: JSON in UTF-8.
        what: What the text is, for the message.
        error: Raised if it is not strict JSON.

    Returns:
        The parsed value.

    Raises:
        SepmeError: ``error``, if the text is malformed, too deep, or holds infinity or NaN.
    """
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as cause:
        reason = str(cause).splitlines()[0]
        raise error(f"{what} is not valid JSON: {reason}.") from cause


def read_fields(
    data: object, fields: Mapping[str, type], *, what: str, error: type[SepmeError]
) -> dict[str, Any]:
    """Check that foreign data is an object with exactly the expected fields and types.

    Integers pass as floats; booleans do not pass as numbers.

    Args:
        data: The foreign value.
        fields: Field name to type.
        what: What the data is, for the message.
        error: Raised if the data does not fit.

    Returns:
        The fields, floats converted.

    Raises:
        SepmeError: ``error``, naming the first field that is missing, unknown or mistyped.

    Example:
        >>> read_fields({"size": 2}, {"size": float}, what="a box", error=SepmeError)
        {'size': 2.0}
    """
    if not isinstance(data, Mapping):
        raise error(f"{what} must be an object, got {shown(data)}.")
    if odd := data.keys() ^ fields.keys():
        name = sorted(odd, key=str)[0]
        trouble = "unknown" if name in data else "missing"
        raise error(f"{what} has a {trouble} field {shown(name)}; expected {sorted(fields)}.")
    return {
        name: _typed(data[name], kind, what=f"{what}: field {name!r}", error=error)
        for name, kind in fields.items()
    }


def read_strings(data: object, *, what: str, error: type[SepmeError]) -> tuple[str, ...]:
    """Check that foreign data is a list of strings.

    Args:
        data: The foreign value.
        what: What the data is, for the message.
        error: Raised if the data does not fit.

    Returns:
        The strings.

    Raises:
        SepmeError: ``error``, if the data is anything else.
    """
    if not isinstance(data, list) or not all(isinstance(item, str) for item in data):
        raise error(f"{what} must be a list of strings, got {shown(data)}.")
    return tuple(data)


def is_scalar(value: object) -> bool:
    """Whether a value is a JSON scalar with a finite number in it, if any.

    Args:
        value: Anything.

    Returns:
        True for strings, booleans, None, integers and finite floats.
    """
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)


def _typed(value: object, kind: type, *, what: str, error: type[SepmeError]) -> object:
    if kind is float and type(value) is int and abs(value) <= _EXACT_IN_FLOAT:
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise error(f"{what} must be of type {kind.__name__}, got {shown(value)}.")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value
