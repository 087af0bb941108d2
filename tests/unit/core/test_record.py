import pytest

from sepme.core.record import canonical_json, is_scalar, parse_json, read_fields, read_strings
from sepme.errors import SpecError


def test_canonical_json_ignores_the_order_of_keys() -> None:
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})
    assert canonical_json({"a": 1}) != canonical_json({"a": 1.0})


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", "[Infinity]", "1e999", "[" * 100_000, b"\xff", "1" * 5000]
)
def test_bad_json_raises_one_error(text: str | bytes) -> None:
    with pytest.raises(SpecError, match="is not valid JSON"):
        parse_json(text, what="text", error=SpecError)


@pytest.mark.parametrize(
    "data", [None, [], {}, {"x": 1, "y": 2}, {"x": "1"}, {"x": True}, {"x": None}, {1: 1}]
)
def test_fields_must_fit_exactly(data: object) -> None:
    with pytest.raises(SpecError):
        read_fields(data, {"x": float}, what="it", error=SpecError)


def test_integers_pass_as_floats_only_where_exact() -> None:
    assert read_fields({"x": 1}, {"x": float}, what="it", error=SpecError) == {"x": 1.0}
    with pytest.raises(SpecError):
        read_fields({"x": 10**400}, {"x": float}, what="it", error=SpecError)


def test_strings() -> None:
    assert read_strings(["a"], what="it", error=SpecError) == ("a",)
    for bad in ("a", ["a", 1], None):
        with pytest.raises(SpecError, match="list of strings"):
            read_strings(bad, what="it", error=SpecError)


def test_scalars() -> None:
    assert all(is_scalar(value) for value in ("", 1, 1.5, True, None))
    assert not any(is_scalar(value) for value in (float("nan"), float("inf"), [], {}, b""))
