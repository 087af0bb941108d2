import pytest

from sepme.core.executor import EXECUTORS, executor_of
from sepme.errors import SpecError
from sepme.executors.local import Local


def test_names_and_executors() -> None:
    assert set(EXECUTORS) == {"local", "process", "ray"}
    assert executor_of("local") == Local()
    chosen = EXECUTORS["process"](workers=3)
    assert executor_of(chosen) is chosen
    assert [executor_of(name).remote for name in EXECUTORS] == [False, True, True]


def test_an_unknown_name() -> None:
    with pytest.raises(SpecError, match="Did you mean 'process'"):
        executor_of("processes")
