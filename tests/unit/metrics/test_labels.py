import pytest

from sepme.errors import SpecError
from sepme.metrics._labels import NONE, check_labels


def test_one_label_per_image_is_fine_and_so_are_none() -> None:
    check_labels(["cat", "dog"], ("cat", NONE))
    check_labels([], [])


@pytest.mark.parametrize(
    ("expected", "seen", "said"),
    [
        (["cat"], ["cat", "dog"], "1 expected and 2 seen"),
        ("cat", ["c", "a", "t"], "in a list"),
        (["cat"], "c", "in a list"),
        ([NONE], [NONE], "cannot be asked for"),
    ],
)
def test_what_does_not_fit_is_refused(expected, seen, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        check_labels(expected, seen)
