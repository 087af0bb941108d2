from unittest.mock import Mock

import pytest

from sepme.core.concept import BLANK, Concept
from sepme.core.listing import apart, listed
from sepme.errors import MethodError, NotSeparable

CAT, DOG, OWL = (Concept(name, (name,)) for name in ("cat", "dog", "owl"))


def test_listed_is_everything_but_the_concept_itself() -> None:
    model = Mock(known=(BLANK, DOG, Concept("cat", ("an older wording",))))
    assert listed(model, CAT, [OWL, DOG]) == (BLANK, DOG, OWL)
    assert listed(Mock(known=()), CAT, []) == (BLANK,)  # blank is always among them
    reworded = Concept("dog", ("hound",))
    assert listed(model, CAT, [reworded]) == (BLANK, DOG, reworded)
    for bad in (BLANK, Concept("blank", ("cat",)), Concept("hound", ("bark", "dog"))):
        with pytest.raises(NotSeparable, match=bad.name):
            listed(model, bad, [])


def test_each_of_several_retains_the_others() -> None:
    assert apart(Mock(known=()), [DOG, CAT], [OWL]) == ((OWL, CAT), (OWL, DOG))
    assert apart(Mock(known=(DOG,)), [DOG, CAT], []) == ((CAT,), (DOG,))  # known, and fitted anew
    assert apart(Mock(known=()), [], [OWL]) == ()


def test_contradictions_are_refused() -> None:
    model = Mock(known=())
    with pytest.raises(MethodError, match="'cat' is to be erased twice"):
        apart(model, [CAT, DOG, Concept("cat", ("kitten",))], [])
    with pytest.raises(NotSeparable, match="'dog' cannot be erased and left alone"):
        apart(model, [CAT, DOG], [DOG])
    with pytest.raises(NotSeparable, match="same prompt 'cat'"):
        apart(model, [DOG, CAT, Concept("feline", ("cat",))], [])
