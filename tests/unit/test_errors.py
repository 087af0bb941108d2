import inspect
import re

import pytest

from sepme import errors
from sepme.errors import SepmeError, did_you_mean, shown


def error_classes() -> list[type[SepmeError]]:
    return [c for c in vars(errors).values() if inspect.isclass(c) and issubclass(c, SepmeError)]


def test_docstring_draws_the_tree_with_exit_codes() -> None:
    drawn = dict(re.findall(r"(\w+) {2,}(\d)  ", errors.__doc__))
    assert drawn == {c.__name__: str(c.exit_code) for c in error_classes()}


@pytest.mark.parametrize("error", error_classes())
def test_depth_in_the_drawing_is_depth_in_the_tree(error: type[SepmeError]) -> None:
    line = next(x for x in errors.__doc__.splitlines() if re.search(rf"\b{error.__name__} ", x))
    depth = (line.index(error.__name__) - 4) // 4
    assert depth == error.__mro__.index(SepmeError)


def test_did_you_mean_without_near_name() -> None:
    assert did_you_mean("zzz", []) == "Known: none."


def test_shown_is_short_and_one_line() -> None:
    assert len(shown("x\n" * 1000)) == 80
    assert "\n" not in shown("a\nb")
