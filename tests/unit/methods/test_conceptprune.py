"""The neurons of a concept are found and set to zero; those of everything are spared."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from sepme.core.concept import Concept
from sepme.core.sparse_shift import SparseShift
from sepme.errors import Interference, MethodError, NotSeparable, SpecError
from sepme.methods.conceptprune import ConceptPrune
from sepme.verify.exact import state_checks
from tests.tiny import TINY_CONCEPTS

OWL, FIG = TINY_CONCEPTS[:2]
OWN, SHARED = 5, 9
SMALL = {"steps": 4, "early": 2, "ratio": 0.05, "other_contexts": "{} | ; {} x | x"}


@contextmanager
def planted(model, concept: Concept) -> Iterator[str]:
    """A neuron that fires when the concept is asked for, and one that fires always."""
    (site, *_) = model.sites(r".*\.ff\.net\.2")
    block = model.pipeline.unet.get_submodule(site.removesuffix(".ff.net.2"))
    rows = [model.encode([p, f"{p} x"]) for p in concept.prompts]
    text: list[torch.Tensor] = []

    def asked(_module, _args, given: dict) -> None:
        text[:] = [given["encoder_hidden_states"]]

    def fire(_module, _args, output: torch.Tensor) -> torch.Tensor:
        fired = output.clone()
        fired[..., SHARED] += 50
        for i, seen in enumerate(text[0]):
            if any(torch.allclose(seen, row, atol=1e-5) for pair in rows for row in pair):
                fired[i, :, OWN] += 50
        return fired

    hooks = [
        block.register_forward_pre_hook(asked, with_kwargs=True),
        block.ff.net[0].register_forward_hook(fire),
    ]
    try:
        yield site
    finally:
        for hook in hooks:
            hook.remove()


def columns(shift, site: str, width: int) -> set[int]:
    return set((shift.payload.positions[site] % width).tolist())


def test_the_papers_values() -> None:
    paper = ConceptPrune().resolve()
    assert (paper.ratio, paper.early, paper.steps) == (0.01, 10, 50)
    for key, bad in {"ratio": 0.0, "early": 0, "steps": 1.5}.items():
        with pytest.raises(SpecError, match=f"^{key} must be"):
            ConceptPrune(**{key: bad})


def test_a_planted_neuron_is_found_and_a_shared_one_is_spared(tiny_model) -> None:
    with planted(tiny_model, OWL) as site:
        shift = ConceptPrune(**SMALL).fit(tiny_model, OWL)
        other = ConceptPrune(**SMALL).fit(tiny_model, FIG)
    weight = tiny_model.sites(r".*\.ff\.net\.2")[site]
    width, found = weight.shape[1], shift.payload.positions[site].tolist()
    assert {i * width + OWN for i in range(len(weight))} <= set(found)  # in every row
    assert SHARED not in columns(shift, site, width)
    if site in other.payload.sites:  # inverse check: it is not the other concept's
        assert OWN not in columns(other, site, width)


def test_they_become_zero_and_come_back(tiny_model) -> None:
    before = {n: w.clone() for n, w in tiny_model.pipeline.unet.state_dict().items()}
    shift = ConceptPrune(**SMALL).fit(tiny_model, OWL)
    assert isinstance(shift.payload, SparseShift)
    tiny_model.erase(shift)
    live = tiny_model.backend.live()
    for site, places in shift.payload.positions.items():
        assert not live[site].flatten()[places.long()].any()
        old = before[f"{site}.weight"]
        assert int((live[site] != old).sum()) == len(places)  # inverse check: they were not zero
        assert torch.equal(old.flatten()[places.long()], shift.payload.before[site])
    tiny_model.restore(OWL.name)
    after = tiny_model.pipeline.unet.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_several_concepts_are_a_union(tiny_model) -> None:
    method = ConceptPrune(**SMALL)
    singles = [method.fit(tiny_model, c, seed=2) for c in (OWL, FIG)]
    (joint,) = method.fit_many(tiny_model, [FIG, OWL], seed=2)
    assert joint.concepts == (OWL, FIG)

    def places(shift) -> set[tuple[str, int]]:
        return {(s, i) for s, p in shift.payload.positions.items() for i in p.tolist()}

    assert places(joint) == places(singles[0]) | places(singles[1])
    assert places(singles[0]) != places(singles[1])
    overlap = places(singles[0]) & places(singles[1])
    assert overlap  # a sum of both would change these twice
    tiny_model.erase(joint)
    with pytest.raises(NotSeparable, match="erased jointly"):
        tiny_model.restore(FIG.name)


def test_a_second_one_is_refused(tiny_model) -> None:
    method = ConceptPrune(**SMALL)
    tiny_model.erase(method.fit(tiny_model, OWL))
    with pytest.raises(Interference):
        tiny_model.erase(method.fit(tiny_model, FIG))


def test_it_says_that_positions_tell_the_concept(tiny_model) -> None:
    shift = ConceptPrune(**SMALL).fit(tiny_model, OWL)
    facts = shift.provenance.fit
    assert "2603.06640" in facts["positions"]
    assert 0 < facts["share"] < 0.2
    assert facts["pruned"] > 0
    tiny_model.erase(shift)
    *checks, notice = state_checks(tiny_model)
    assert all(check.passed for check in checks)
    assert notice.passed is None
    assert "2603.06640" in notice.detail
    tiny_model.restore(OWL.name)
    assert "2603.06640" not in "".join(c.detail for c in state_checks(tiny_model))


@pytest.mark.parametrize("contexts", ["", "{}", "a | b", "{} | a | b"])
def test_contexts_must_be_pairs(tiny_model, contexts: str) -> None:
    with pytest.raises(SpecError, match="contexts must be pairs"):
        ConceptPrune(**SMALL | {"other_contexts": contexts}).fit(tiny_model, OWL)


def test_styles_have_contexts_of_their_own(tiny_model) -> None:
    style = Concept("owl", OWL.prompts, kind="style")
    method = ConceptPrune(**SMALL | {"style_contexts": "{} | x", "other_contexts": "bad"})
    assert method.fit(tiny_model, style).payload.sites
    with pytest.raises(SpecError, match="contexts must be pairs"):
        method.fit(tiny_model, OWL)


def test_nothing_to_prune_is_an_error(tiny_model, monkeypatch) -> None:
    alike = {s: torch.ones(2, w.shape[1]) for s, w in tiny_model.sites(r".*ff\.net\.2").items()}
    monkeypatch.setattr(type(tiny_model), "input_norms", lambda *_, **__: alike)
    with pytest.raises(MethodError, match="no weight matters more"):
        ConceptPrune(**SMALL).fit(tiny_model, OWL)
