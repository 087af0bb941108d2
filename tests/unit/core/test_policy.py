"""Who has which erased set: names to entries, prompts to rows."""

from types import SimpleNamespace

import pytest

from sepme.core import policy as module
from sepme.core.ledger import Ledger
from sepme.core.policy import Policies, Policy, actives_of, entries_for
from sepme.core.side_path import SidePath
from sepme.errors import BackendError, Interference, NotErased, NotSeparable, SepmeError, SpecError
from tests.shifts import BASE, D_TEXT, SITES, make_base, make_shift, make_text_shift

A, B = make_shift("a"), make_shift("b", seed=1)
C, D = make_text_shift("c"), make_text_shift("d", seed=1)
JOINT = make_text_shift("x", "y", seed=2)
SHIFTS = {shift.digest: shift for shift in (A, B, C, D, JOINT)}


def ledger(*shifts, restored: bool = True) -> Ledger:
    found = Ledger(BASE)
    for strength, shift in enumerate(shifts, start=1):
        found = found.erase(shift, strength / 4, allow_interference=True)
    return found.restore(*found.erased) if restored else found


def model() -> SimpleNamespace:
    """All that policies ask of a model."""
    weights = make_base()
    return SimpleNamespace(sites=lambda targets=None: weights)


def test_names_are_whatever_the_ledger_holds() -> None:
    book = ledger(A, B, JOINT)
    assert [e.name for e in entries_for(book, {"b", "a"})] == ["a", "b"]
    assert [e.name for e in entries_for(book, {"x", "y"})] == ["x+y"]
    assert [e.name for e in entries_for(book, {"x+y", "a"})] == ["a", "x+y"]
    actives = actives_of(book, SHIFTS, [{"a"}, set(), {"b", "a"}])
    assert actives == [[(A, 0.25)], [], [(A, 0.25), (B, 0.5)]]


@pytest.mark.parametrize(
    ("erased", "error", "says"),
    [
        ("a", SpecError, "got 'a'"),
        ({"a"}, SpecError, "got {'a'}"),
        (["a"], SpecError, "the string 'a'; put it in {}"),
        ([{"a", 7}], SpecError, "got 7 in place of a name"),
        ([None], SpecError, "got None in place of a name"),
        ([{"aa"}], NotErased, "Did you mean 'a'"),
        ([set(), {"x"}], NotSeparable, "Name all of them or none"),
        ([{"c", "d"}], Interference, "'c', 'd'"),
    ],
)
def test_refuses_in_one_line(erased, error: type[SepmeError], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        actives_of(ledger(A, C, D, JOINT), SHIFTS, erased)
    assert "\n" not in str(caught.value)


def test_joint_shifts_that_overlap_are_refused() -> None:
    book = ledger(JOINT).erase(make_shift("x", seed=3))
    assert [e.name for e in entries_for(book, {"x"})] == ["x"]
    with pytest.raises(NotSeparable):
        entries_for(book, {"x", "y"})


def test_interference_needs_consent_given_here_or_to_the_ledger() -> None:
    assert entries_for(ledger(C, D), {"c", "d"}, allow_interference=True)
    assert entries_for(ledger(C, D, restored=False), {"c", "d"})
    assert len(actives_of(ledger(C, D), SHIFTS, [{"c"}, {"d"}])) == 2  # in different rows
    with pytest.raises(Interference):
        entries_for(ledger(C, D), {"c", "d"})


def test_rows() -> None:
    one, two = SidePath(), SidePath()
    policy = Policy((one, None, two, one), images_per_prompt=2)
    assert policy.rows(8) == {one: [0, 1, 6, 7], two: [4, 5]}
    assert policy.rows(16) == {one: [0, 1, 6, 7, 8, 9, 14, 15], two: [4, 5, 12, 13]}
    assert (policy.is_guided(8), policy.is_guided(16)) == (False, True)
    with pytest.raises(BackendError, match="8 rows, or 16 under guidance, but the U-Net got 4"):
        policy.rows(4)
    with pytest.raises(SpecError, match="at least one"):
        Policy(())
    with pytest.raises(SpecError, match="images_per_prompt"):
        Policy((None,), images_per_prompt=0)


@pytest.mark.parametrize("said", [True, False])
def test_what_is_said_goes_before_the_number_of_rows(said: bool) -> None:
    policy, (fits, other) = Policy((None, None)), (4, 2) if said else (2, 4)
    assert policy.is_guided(fits, said=said) is said
    assert policy.is_guided(other) is not said  # inverse check: by its size alone it would pass
    with pytest.raises(BackendError, match=f"got {other} (under|without) guidance; give one"):
        policy.is_guided(other, said=said)


def test_a_set_is_worked_out_once() -> None:
    policies, known = Policies(), model()
    first = policies.policy(known, [[(A, 1.0)], [], [(A, 1.0), (B, 1.0)], [(B, 1.0), (A, 1.0)]])
    assert first.paths[1] is None
    assert first.paths[2] is first.paths[3]
    second = policies.policy(known, [[(B, 1.0), (A, 1.0)], [(A, 1.0)]])
    assert second.paths == (first.paths[2], first.paths[0])
    assert policies.kept == 2
    stronger = policies.policy(known, [[(A, 0.5)]])  # inverse check: another set is another path
    assert stronger.paths[0] is not first.paths[0]
    assert policies.kept == 3


def test_what_is_kept_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    policies, known = Policies(), model()
    size = policies.policy(known, [[(A, 1.0)]]).paths[0].nbytes
    assert size == sum(2 * 4 * width for width in (D_TEXT, *SITES.values()))
    monkeypatch.setattr(module, "KEPT_BYTES", 2 * size)
    paths = [policies.policy(known, [[(A, s)]]).paths[0] for s in (0.5, 1.0, 0.25)]
    assert policies.kept == 2  # the one used last but two is gone
    assert policies.policy(known, [[(A, 1.0)]]).paths[0] is paths[1]
    assert policies.policy(known, [[(A, 0.5)]]).paths[0] is not paths[0]
