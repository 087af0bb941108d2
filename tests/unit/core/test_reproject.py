from dataclasses import replace

import pytest
import torch
from torch import Tensor

import sepme
from sepme.core.backend import Backend
from sepme.core.concept import BLANK, Concept
from sepme.core.payload import SiteShift
from sepme.core.reproject import reproject
from sepme.core.shift import ConceptShift
from sepme.errors import MethodError, NotSeparable, NullSpaceExhausted
from sepme.linalg.null_space import null_space
from sepme.methods.sepme_text import SepMEText
from sepme.methods.uce import UCE
from tests.tiny import TINY_CONCEPTS, null_space_shift

OLD, BESIDE, NEW = TINY_CONCEPTS[:3]


def moved(shift: ConceptShift, model: Backend, concept: Concept) -> float:
    """How far a shift moves the keys and values of a concept's prompts, relative to their size."""
    rows = model.encode(concept.prompts).flatten(0, 1).double().T
    return max(
        float((shift.payload.delta(site, weight) @ rows).norm() / (weight.double() @ rows).norm())
        for site, weight in model.sites().items()
    )


@pytest.fixture(params=["site", "text"])
def shift(request: pytest.FixtureRequest, tiny_model) -> ConceptShift:
    if request.param == "site":
        return null_space_shift(tiny_model, OLD, [BESIDE])
    return SepMEText().fit(tiny_model, OLD, retain=[BESIDE])


def test_old_and_new_are_left_alone_and_the_rest_is_kept(shift, tiny_model) -> None:
    later = reproject(shift, tiny_model, [BESIDE, NEW])
    assert moved(shift, tiny_model, NEW) > 1e-4  # inverse check: there was something to mend
    for concept in (BLANK, BESIDE, NEW):
        assert concept.name in later.decoupled_from
        assert moved(later, tiny_model, concept) < 1e-5
    assert 0 < later.provenance.fit["kept"] <= 1
    assert moved(later, tiny_model, OLD) > 1e-4


def test_it_is_another_shift_that_says_where_it_comes_from(shift, tiny_model) -> None:
    later = reproject(shift, tiny_model, [BESIDE, NEW])
    assert later.concepts == shift.concepts
    assert later.digest != shift.digest == later.provenance.fit["reprojected"]
    assert reproject(shift, tiny_model, [BESIDE, NEW]) == later
    again = reproject(later, tiny_model, [BESIDE, NEW])
    kept = later.provenance.fit["kept"]
    assert kept < 0.999
    assert again.provenance.fit["kept"] == pytest.approx(kept, abs=1e-6)  # a projector


def test_what_is_left_can_be_amplified_to_the_effect_of_the_fit(shift, tiny_model) -> None:
    bare, full, little = (
        reproject(shift, tiny_model, [BESIDE, NEW], amplify=amplify) for amplify in (1, 1e9, 1.01)
    )
    left = bare.provenance.fit["kept"]
    assert 0.01 < left < 0.9
    assert full.provenance.fit["kept"] == pytest.approx(1)
    assert little.provenance.fit["kept"] == pytest.approx(1.01 * left)
    for concept in (BLANK, BESIDE, NEW):
        assert moved(full, tiny_model, concept) < 1e-4
    assert moved(full, tiny_model, OLD) == pytest.approx(moved(bare, tiny_model, OLD) / left)
    twice = reproject(little, tiny_model, [BESIDE, NEW], amplify=1.01)
    assert twice.provenance.fit["amplified"] == pytest.approx(1.01)  # in all
    assert twice.provenance.fit["kept"] == pytest.approx(1.01 * left)
    again = reproject(little, tiny_model, [BESIDE, NEW], amplify=1e9)
    assert again.provenance.fit["kept"] == pytest.approx(1)
    once = reproject(full, tiny_model, [BESIDE, NEW], amplify=1e9)
    assert moved(once, tiny_model, OLD) == pytest.approx(moved(full, tiny_model, OLD))


@pytest.mark.parametrize("amplify", [0.5, 0, -1, float("nan")])
def test_nothing_is_made_smaller(shift, tiny_model, amplify: float) -> None:
    with pytest.raises(MethodError, match=r"amplify must be at least 1.*got"):
        reproject(shift, tiny_model, [BESIDE, NEW], amplify=amplify)


def reading(shift: ConceptShift, directions: Tensor) -> ConceptShift:
    """The shift with other directions, as many as it has."""
    return replace(shift, payload=SiteShift(directions.float(), shift.payload.factors))


def test_own_prompts_may_be_moved_more_than_before_but_the_weights_are_not(tiny_model) -> None:
    known = tiny_model.encode([p for c in (*tiny_model.known, NEW) for p in c.prompts])
    space, own = null_space(known), tiny_model.encode(OLD.prompts).flatten(0, 1).double()
    shift = null_space_shift(tiny_model, OLD)
    left = space.project(shift.payload.directions)
    used = torch.linalg.svd(space.basis)[2][len(space.basis) :]
    against = torch.linalg.lstsq(own @ used.T, -(own @ left.T)).solution.T @ used
    kept = {}
    for name, directions in {"against": left + against, "with": left - against}.items():
        before = reading(shift, directions)
        after = reproject(before, tiny_model, [NEW])
        kept[name] = after.provenance.fit["kept"]
        for site, weight in tiny_model.sites().items():
            sizes = [s.payload.delta(site, weight).norm() for s in (after, before)]
            assert sizes[0] < sizes[1]
    assert kept["against"] > 1.01
    assert 0 < kept["with"] < 0.99  # inverse check


def test_what_did_nothing_cannot_be_kept(tiny_model) -> None:
    shift = null_space_shift(tiny_model, OLD, [BESIDE])
    idle = reading(shift, torch.zeros_like(shift.payload.directions))
    with pytest.raises(MethodError, match=f"'{OLD.name}' does nothing to its own prompts"):
        reproject(idle, tiny_model, [BESIDE, NEW])
    faint = reading(shift, 1e-9 * shift.payload.directions)  # inverse check: little is enough
    assert 0 < reproject(faint, tiny_model, [BESIDE, NEW]).provenance.fit["kept"] <= 1


def test_the_new_one_alone_would_open_old_leaks(tiny_model) -> None:
    shift = null_space_shift(tiny_model, OLD, [BESIDE])

    def after(*spared: Concept) -> Tensor:
        space = null_space(tiny_model.encode([p for c in spared for p in c.prompts]))
        return space.project(shift.payload.directions)

    rows = tiny_model.encode(BESIDE.prompts).flatten(0, 1).double()
    assert (after(NEW) @ rows.T).abs().max() > 1e-4
    assert (after(BLANK, BESIDE, NEW) @ rows.T).abs().max() < 1e-8


def test_erasing_it_replaces_the_earlier_one(tiny_model, tmp_path) -> None:
    shift = null_space_shift(tiny_model, OLD)
    tiny_model.erase(shift)
    tiny_model.erase(null_space_shift(tiny_model, NEW, [OLD]))
    later = reproject(shift, tiny_model)
    assert NEW.name in later.decoupled_from  # what the ledger holds is known
    tiny_model.erase(later)
    assert tiny_model.erased == tuple(sorted((OLD.name, NEW.name)))
    assert later in tiny_model.shifts
    assert shift not in tiny_model.shifts
    tiny_model.restore(OLD.name, NEW.name)
    assert tiny_model.erased == ()


def test_what_cannot_be_projected(tiny_model) -> None:
    with pytest.raises(MethodError, match="not separable"):
        reproject(UCE().fit(tiny_model, OLD), tiny_model, [NEW])
    shift = null_space_shift(tiny_model, OLD, [BESIDE])
    with pytest.raises(MethodError, match=f"{BESIDE.name}.*Give that concept"):
        reproject(shift, tiny_model, [NEW])
    with pytest.raises(NotSeparable):
        reproject(shift, tiny_model, [BESIDE, Concept("same", OLD.prompts)])
    crowd = [Concept(f"c{k}", (f"{chr(97 + k)}{chr(99 + k)} {k}",)) for k in range(20)]
    with pytest.raises((NullSpaceExhausted, NotSeparable)):
        reproject(shift, tiny_model, [BESIDE, *crowd])


def test_it_is_part_of_the_package() -> None:
    assert sepme.reproject is reproject
