import json
from dataclasses import replace

import pytest
import torch

import sepme
from sepme.core.concept import Concept
from sepme.core.listing import listed
from sepme.errors import ConceptError, NotSeparable, NullSpaceExhausted, UnknownMethod
from sepme.linalg.null_space import null_space
from sepme.methods.esd import ESD
from sepme.methods.sepme import SepME
from sepme.methods.sepme_free import SepMEFree
from sepme.methods.sepme_text import SepMEText
from sepme.plan import MIN_SEPARABILITY, Plan, cost, plan
from sepme.plan.cost import fit_cost
from tests.tiny import null_space_shift

STYLES = [concept for concept in sepme.demo.concepts() if concept.kind == "style"]


@pytest.fixture(scope="module")
def model() -> sepme.ErasedPipeline:
    return sepme.load("demo")


@pytest.fixture(scope="module")
def three(model) -> Plan:
    return plan(model, STYLES[:3])


def test_demo_styles_can_be_erased_together(three: Plan) -> None:
    three.check()
    assert three.ok
    assert [row.concept for row in three.rows] == [style.name for style in STYLES[:3]]
    for row in three.rows:
        assert MIN_SEPARABILITY < row.separability <= 1
        assert row.rank + row.free == three.dimensions
        assert row.colliding == ()
        assert row.seconds > 0
        assert row.memory_mb > 10


def test_rank_and_capacity_against_numpy(model, three: Plan) -> None:
    listed = [*model.known, *STYLES[1:3]]
    rows = model.encode([p for c in listed for p in c.prompts]).double().flatten(0, 1)
    assert three.rows[0].rank == torch.linalg.matrix_rank(rows, rtol=1e-6)
    assert three.rows[0].listed == len(listed)
    everything = model.encode([p for c in (*model.known, *STYLES[:3]) for p in c.prompts])
    assert three.free == three.dimensions - null_space(everything).rank
    assert three.capacity_left == int(three.free / three.rows_per_concept)


def test_capacity_shrinks_with_what_is_retained(model, three: Plan) -> None:
    more = plan(model, STYLES[:3], retain=STYLES[3:6])
    assert more.capacity_left < three.capacity_left
    assert more.free < three.free


def test_the_estimates_follow_the_method(model) -> None:
    short = plan(model, STYLES[:1], method=SepME(max_steps=10, images=1, pool=1)).rows[0]
    long = plan(model, STYLES[:1], method=SepME(max_steps=10_000, images=1, pool=1)).rows[0]
    assert long.seconds > 20 * short.seconds


@pytest.mark.parametrize("method", ["sepme-text", "uce", "semantic-surgery"])
def test_no_time_is_promised_for_a_fit_without_steps(model, method: str, monkeypatch) -> None:
    monkeypatch.setattr(cost, "_forward_seconds", lambda *_: pytest.fail("timed for nothing"))
    made = plan(model, STYLES[:1], method=method)
    assert made.rows[0].seconds is None
    assert made.rows[0].memory_mb > 10
    assert json.loads(json.dumps(made.to_dict()))["rows"][0]["seconds"] is None


def test_the_cost_counts_every_prediction(model, monkeypatch) -> None:
    monkeypatch.setattr(cost, "_forward_seconds", lambda *_: 1.0)
    sizes = {"max_steps": 100, "images": 1, "pool": 1, "batch_size": 2}
    once, twice = (fit_cost(model, kind(**sizes).resolve()) for kind in (ESD, SepMEFree))
    assert twice[0] - once[0] == 100 * 3  # a forward and a backward more for each step


def test_the_same_prompt_under_another_name_is_refused_by_name(model) -> None:
    made = plan(model, [Concept("vg", STYLES[0].prompts)], retain=STYLES[:1])
    assert not made.ok
    with pytest.raises(NotSeparable, match=f"'vg'.*'{STYLES[0].name}'"):
        made.check()
    assert not made.rows[0].exhausted
    plan(model, [Concept("vg", STYLES[0].prompts)], retain=STYLES[1:2]).check()  # inverse


def test_one_shared_prompt_of_several_is_enough(model) -> None:
    made = plan(model, [Concept("x", ("something else", *STYLES[0].prompts))], retain=STYLES[:1])
    assert made.rows[0].same_as == STYLES[0].name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("van-gogh", "Van - Gogh"),
        ("a cat!", "a  cat !"),
        ("caf\u00e9", "cafe\u0301"),
        ("a cat " * 20 + "here", "a cat " * 20 + "there"),
    ],
)
def test_what_reads_alike_is_the_same_prompt(model, one: str, other: str) -> None:
    made = plan(model, [Concept("x", (one,))], retain=[Concept("y", (other,))], method="sepme-text")
    assert made.rows[0].same_as == "y"


def test_a_concept_is_not_held_against_itself(model) -> None:
    assert plan(model, STYLES[:1], retain=STYLES[:1]).ok


def test_a_gated_map_leaves_the_others_alone_without_room(model) -> None:
    crowd = [concept for concept in sepme.demo.concepts() if concept != STYLES[0]]
    bare, gated = (
        plan(model, STYLES[:1], retain=crowd, method=SepMEText(gate=gate)).rows[0]
        for gate in (False, True)
    )
    assert gated.exact
    assert not bare.exact  # inverse check
    assert bare.free == gated.free == 0


def test_no_more_is_read_than_it_takes_to_know(model, asked: list[str]) -> None:
    crowd = [concept for concept in sepme.demo.concepts() if concept != STYLES[0]]
    plan(model, STYLES[:1], retain=crowd, method="sepme-text")
    assert 0 < len(asked) < 20
    del asked[:]
    plan(model, [STYLES[0], *crowd], method="sepme-text")
    assert 0 < len(asked) < len(crowd)
    del asked[:]
    assert not plan(model, STYLES[:1], retain=crowd).ok  # a refusal names who is in the way
    assert len(asked) > len(crowd)  # inverse check


def rank_of(model, concepts) -> int:
    rows = model.encode([p for c in concepts for p in c.prompts]).double().flatten(0, 1)
    return int(torch.linalg.matrix_rank(rows, rtol=1e-6))


def test_two_definitions_of_one_name_are_both_left_alone_as_in_a_fit(tiny_model) -> None:
    owl, fig, held, retained = (
        Concept(name, (prompt,))
        for name, prompt in (("owl", "owl"), ("fig", "fig"), ("jar", "jar"), ("jar", "urn"))
    )
    tiny_model.erase(null_space_shift(tiny_model, held))
    (row,) = plan(tiny_model, [owl], retain=[retained]).rows
    alone = listed(tiny_model, owl, [retained])
    assert {held, retained} < set(alone)
    assert (row.listed, row.rank) == (len(alone), rank_of(tiny_model, alone))
    for other in (held, retained):  # inverse check: each of them counts
        assert row.rank > rank_of(tiny_model, [c for c in alone if c != other])
        made = plan(tiny_model, [Concept("same", other.prompts)], retain=[retained])
        assert made.rows[0].same_as == "jar"
    first, second = plan(tiny_model, [retained, fig]).rows  # a new definition replaces the old
    assert first.rank == rank_of(tiny_model, listed(tiny_model, retained, [fig]))
    assert second.rank == rank_of(tiny_model, listed(tiny_model, fig, [retained]))


def test_colliding_names_are_told_once(tiny_model) -> None:
    jars = [Concept("jar", (prompt,)) for prompt in ("owl ", "owl!", "OWL")]
    row = plan(tiny_model, [Concept("owl", ("owl",))], retain=jars).rows[0]
    assert not row.ok
    assert row.colliding.count("jar") == 1


def test_what_is_below_the_threshold_is_refused_with_colliding_names(three: Plan, model) -> None:
    low = replace(three.rows[0], ok=False, separability=0.01, colliding=("hokusai", "renoir"))
    with pytest.raises(NotSeparable, match=r"0\.010.*hokusai, renoir"):
        replace(three, rows=(low,)).check()
    crowded = plan(model, STYLES[:1], retain=sepme.demo.concepts()[1:])
    row = crowded.rows[0]
    assert row.ok == (row.separability >= MIN_SEPARABILITY and row.free > 0)
    assert bool(row.colliding) == (not row.ok)
    assert len(row.colliding) <= 3


def test_a_full_text_space_is_refused(model) -> None:
    fillers = [
        Concept(f"filler-{i}", (f"{i} {chr(97 + i % 26)} {i * 7919} zq",)) for i in range(40)
    ]
    made = plan(model, STYLES[:1], retain=fillers)
    assert made.rows[0].exhausted
    assert made.rows[0].free <= 1  # a layer norm can leave one direction that no prompt has
    assert made.capacity_left == 0
    with pytest.raises(NullSpaceExhausted, match="filler-"):
        made.check()


def test_planning_changes_nothing_and_is_json(model, three: Plan) -> None:
    live = model.backend.live()
    assert all(torch.equal(live[site], weight) for site, weight in model.sites().items())
    data = json.loads(json.dumps(three.to_dict(), allow_nan=False))
    assert data["ok"] is True
    assert data["capacity_left"] == three.capacity_left
    assert data["rows"][0]["concept"] == STYLES[0].name


@pytest.mark.parametrize("concepts", [[], [STYLES[0], STYLES[0]]], ids=["none", "twice"])
def test_concepts_must_be_distinct(model, concepts) -> None:
    with pytest.raises(ConceptError):
        plan(model, concepts)


def test_an_unknown_method_is_named(model) -> None:
    with pytest.raises(UnknownMethod, match="sepme"):
        plan(model, STYLES[:1], method="sepm")


def test_a_method_without_a_null_space_is_not_judged_by_it(model) -> None:
    near = Concept("near", ("Van Gogh.",))
    crowd = sepme.demo.concepts()
    free = plan(model, [near], retain=crowd, method="sepme-free")
    assert free.ok
    assert free.threshold == 0
    assert not plan(model, [near], retain=crowd).ok  # inverse check


def test_a_method_that_approximates_is_never_refused_for_want_of_room(model) -> None:
    everything = [c for c in sepme.demo.concepts() if c.kind != "watermark"]
    crowded = plan(model, everything[:1], retain=everything[1:], method="sepme-text")
    assert crowded.ok
    assert not crowded.rows[0].exact
    with pytest.raises((NullSpaceExhausted, NotSeparable)):  # inverse check: there is no room
        plan(model, everything[:1], retain=everything[1:]).check()
    assert plan(model, everything[:1], method="sepme-text").rows[0].exact
    assert not plan(model, everything[:1], method="uce").rows[0].exact
