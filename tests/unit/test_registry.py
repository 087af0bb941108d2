import sys
from fractions import Fraction
from importlib.metadata import EntryPoint

import pytest

from sepme import registry
from sepme.errors import SpecError, UnknownMethod
from sepme.registry import Registry


@pytest.fixture
def numbers() -> Registry[type]:
    rows = {"fraction": "fractions:Fraction", "decimal": "decimal:Decimal", "gone": "no_such:X"}
    return Registry("number", rows, error=UnknownMethod)


def with_entry_point(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    point = EntryPoint(name, value, "sepme.numbers")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] * (group == point.group))


def test_getitem_imports_the_object(numbers: Registry[type]) -> None:
    assert numbers["fraction"] is Fraction


def test_looks_like_a_sorted_mapping(numbers: Registry[type]) -> None:
    assert list(numbers) == ["decimal", "fraction", "gone"]
    assert len(numbers) == 3
    assert "decimal" in numbers
    assert "x" not in numbers
    assert 3 not in numbers


def test_listing_imports_nothing() -> None:
    sys.modules.pop("colorsys", None)
    rows = Registry[object]("row", {"x": "colorsys:hls_to_rgb"})
    list(rows)
    assert "colorsys" not in sys.modules
    assert rows["x"]
    assert "colorsys" in sys.modules


def test_unknown_name_suggests(numbers: Registry[type]) -> None:
    with pytest.raises(UnknownMethod, match="Did you mean 'fraction'"):
        numbers["fractoin"]


@pytest.mark.parametrize("target", ["no_such:X", "fractions:NoSuch"])
def test_broken_row_says_so(target: str) -> None:
    with pytest.raises(SpecError, match="does not import"):
        Registry[object]("row", {"x": target})["x"]


@pytest.mark.parametrize("target", ["fractions", "fractions:", ":Fraction", "a:b c"])
def test_malformed_row_is_refused_at_once(target: str) -> None:
    with pytest.raises(SpecError, match="module:attribute"):
        Registry[object]("row", {"x": target})


def test_entry_points_add_rows(numbers: Registry[type], monkeypatch: pytest.MonkeyPatch) -> None:
    with_entry_point(monkeypatch, "integer", "numbers:Integral")
    assert numbers["integer"].__name__ == "Integral"


def test_entry_points_cannot_replace_rows(
    numbers: Registry[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_entry_point(monkeypatch, "fraction", "numbers:Integral")
    with pytest.raises(SpecError, match="registered twice"):
        numbers["fraction"]


def test_entry_points_may_repeat_a_row(
    numbers: Registry[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_entry_point(monkeypatch, "fraction", "fractions:Fraction")
    assert numbers["fraction"] is Fraction
