import pytest
import torch

from sepme.core.concept import Concept
from sepme.errors import MethodError, NotSeparable
from sepme.methods._bases import Trained, Unconstrained
from sepme.methods._separable import Separable
from sepme.methods.esd import ESD
from sepme.methods.sepme import SepME
from sepme.methods.sepme_free import SepMEFree
from sepme.methods.sepme_joint import SepMEJoint
from tests.tiny import TINY_CONCEPTS

TARGET, OTHER = TINY_CONCEPTS[:2]
SMALL = {"images": 2, "pool": 4, "max_steps": 3}
KINDS = [ESD, SepME, SepMEFree, SepMEJoint]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def test_families() -> None:
    assert [issubclass(kind, Separable) for kind in KINDS] == [kind.separable for kind in KINDS]
    assert all(issubclass(kind, Separable) != issubclass(kind, Unconstrained) for kind in KINDS)
    assert {field for kind in KINDS for field in Trained._fields()} <= set(ESD._fields())


@every_kind
def test_contradictions_come_before_anything_is_drawn(kind, tiny_model, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(type(tiny_model), "draw_latents", lambda *_, **__: drawn.append(1))
    method = kind(**SMALL)
    alike = Concept("alike", TARGET.prompts)
    with pytest.raises(MethodError, match="twice"):
        method.fit_many(tiny_model, [TARGET, OTHER, TARGET])
    with pytest.raises(NotSeparable, match="same prompt"):
        method.fit_many(tiny_model, [OTHER, TARGET], retain=[alike])
    with pytest.raises(NotSeparable, match="same prompt"):
        method.fit(tiny_model, TARGET, retain=[alike])
    assert method.fit_many(tiny_model, []) == ()
    assert not drawn
    with pytest.raises(AttributeError):
        method.fit(tiny_model, TARGET)  # inverse check: without a contradiction, it draws
    assert drawn


@pytest.mark.parametrize("kind", [SepMEJoint, SepME], ids=lambda kind: kind.name)
def test_a_concept_without_room_is_told_before_its_turn(kind, tiny_model, monkeypatch) -> None:
    """Joint: before any image is drawn. Separate: the first one is fitted by then."""
    drawn = []
    draw = type(tiny_model).draw_latents

    def counted(self, prompts, *, seeds):
        drawn.append(prompts)
        return draw(self, prompts, seeds=seeds)

    monkeypatch.setattr(type(tiny_model), "draw_latents", counted)
    crowded = Concept("crowded", ("owl ",))  # the same tokens as a prompt to leave alone
    with pytest.raises(NotSeparable, match="lie in the span"):
        kind(**SMALL).fit_many(tiny_model, [OTHER, crowded], retain=[TARGET])
    assert len(drawn) == (0 if kind is SepMEJoint else 1)


@every_kind
def test_the_same_sites_whatever_they_are(kind, tiny_model) -> None:
    modules = r".*\.attn2\.to_v"
    shift = kind(**SMALL, target_modules=modules).fit(tiny_model, TARGET)
    assert set(shift.payload.sites) == set(tiny_model.sites(modules))
    assert len(shift.payload.sites) < len(tiny_model.sites())


@every_kind
def test_several_latents_a_step(kind, tiny_model) -> None:
    one, three = (kind(**SMALL, batch_size=n).fit(tiny_model, TARGET, seed=1) for n in (1, 3))
    assert one.provenance.fit["steps"] == three.provenance.fit["steps"] == 3
    pairs = zip(one.payload.tensors().values(), three.payload.tensors().values(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)
