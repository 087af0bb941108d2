from unittest.mock import Mock

from sepme.executors.local import Local


def test_a_plain_loop_over_the_callers_own() -> None:
    method, model = Mock(), Mock()
    found = Local().fit_many(method, model, ["a"], retain=["b"], seed=3)
    assert found is method.fit_here.return_value
    method.fit_here.assert_called_once_with(model, ["a"], retain=["b"], seed=3)
    assert list(Local().map(pow, [2, 3], common=2)) == [(2, 4), (3, 8)]
