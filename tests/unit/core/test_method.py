import re
from dataclasses import dataclass
from unittest.mock import Mock

import pytest

from sepme.core.concept import Concept
from sepme.core.method import Method, from_paper
from sepme.errors import MethodError, NotSeparable, SpecError
from tests.shifts import make_shift


@dataclass(frozen=True)
class Remembering(Method):
    """Puts what it was asked to retain where a test can see it."""

    name = "remembering"
    separable = True

    def fit(self, model, concept, *, retain=(), seed=0):
        names = tuple(other.name for other in retain)
        return make_shift(concept.name, decoupled_from=names, seed=seed)


def test_fit_many_decouples_each_from_the_others() -> None:
    concepts = [Concept(name, (name,)) for name in ("b", "a", "c")]
    extra = Concept("z", ("z",))
    shifts = Remembering().fit_many(Mock(known=()), concepts, retain=[extra], seed=3)
    assert [shift.name for shift in shifts] == ["b", "a", "c"]
    assert [shift.decoupled_from for shift in shifts] == [
        ("a", "c", "z"),
        ("b", "c", "z"),
        ("a", "b", "z"),
    ]
    assert {shift.provenance.seed for shift in shifts} == {3}


def test_fit_many_refuses_contradictions_before_any_fit() -> None:
    cat, dog = Concept("cat", ("a cat",)), Concept("dog", ("a dog",))
    method = Mock(spec=Remembering)
    model = Mock(known=())
    with pytest.raises(MethodError, match="'cat' is to be erased twice"):
        Remembering.fit_here(method, model, [cat, dog, Concept("cat", ("kitten",))])
    with pytest.raises(NotSeparable, match="'dog' cannot be erased and left alone"):
        Remembering.fit_here(method, model, [cat, dog], retain=[dog])
    with pytest.raises(NotSeparable, match="same prompt 'a cat'"):
        Remembering.fit_here(method, model, [dog, cat, Concept("feline", ("a cat",))])
    method.fit.assert_not_called()
    assert len(Remembering.fit_here(method, model, [cat, dog])) == 2


@dataclass(frozen=True)
class Tunable(Remembering):
    name = "tunable"

    rate: float = from_paper(0.1, above=0, most=1)
    count: int = from_paper(3, least=0)
    mode: str = from_paper("a", one_of=("a", "b"))
    plain: int = 7


def test_own_values_win_over_the_preset_and_that_over_the_paper() -> None:
    assert Tunable().resolve() == Tunable(rate=0.1, count=3, mode="a", plain=7)
    assert Tunable(rate=0.5).resolve({"rate": 0.2, "count": 1}) == Tunable(0.5, 1, "a")
    assert Tunable(count=0).resolve({"count": 1}).count == 0  # zero is a choice


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"rate": 0}, "rate must be a finite number above 0 and at most 1, got 0"),
        ({"rate": 1.5}, "at most 1"),
        ({"rate": True}, "got True"),
        ({"rate": "0.1"}, "got '0.1'"),
        ({"count": 1.0}, "count must be a whole number at least 0"),
        ({"count": -1}, "at least 0"),
        ({"mode": "c"}, "mode must be 'a' or 'b', got 'c'"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, object], expected: str) -> None:
    with pytest.raises(SpecError, match=re.escape(expected)):
        Tunable(**values)
    with pytest.raises(SpecError, match=re.escape(expected)):
        Tunable().resolve(values)


def test_unknown_hyper_parameters_are_refused() -> None:
    with pytest.raises(SpecError, match="Did you mean 'rate'"):
        Tunable().resolve({"rat": 1})


def test_provenance_is_complete() -> None:
    origin = Tunable().resolve().provenance(Mock(fingerprint="sha256:0"), seed=4, fit={"rank": 2})
    assert (origin.base, origin.method, origin.seed) == ("sha256:0", "tunable", 4)
    assert origin.config == {"rate": 0.1, "count": 3, "mode": "a", "plain": 7}
    assert origin.fit == {"rank": 2}
    assert set(origin.versions) == {"sepme", "torch"}
