import json
import math

import pytest
import torch

import sepme
from sepme.core.concept import Concept
from sepme.errors import Diverged, NotSeparable, SpecError
from tests.tiny import TINY_CONCEPTS

TARGET, OTHER, THIRD = TINY_CONCEPTS[:3]
SMALL = {"images": 2, "pool": 4, "max_steps": 12, "scale": 0.02, "threshold": -1.0}


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("learning_rate", 0), ("learning_rate", math.nan), ("learning_rate", "0.1"),
        ("scale", -1e-4), ("momentum", 1.5), ("threshold", math.inf), ("penalty", -1),
        ("max_steps", 0), ("max_steps", 1.5), ("max_steps", True), ("batch_size", -1),
        ("basis", "full"), ("learns", "map"), ("start", 0), ("energy", 0), ("energy", 1.1),
        ("rtol", 0), ("images", 0), ("pool", 0), ("bins", 0), ("target_modules", 3),
    ],
)  # fmt: skip
def test_values_out_of_range(key: str, bad: object) -> None:
    with pytest.raises(SpecError, match=f"^{key} must be .*got"):
        sepme.SepME(**{key: bad})
    with pytest.raises(SpecError, match=f"^{key} must be"):
        sepme.SepME().resolve({key: bad})


def test_resolves_own_then_preset_then_paper() -> None:
    resolved = sepme.SepME(scale=0.5).resolve({"scale": 0.1, "momentum": 0.5})
    assert (resolved.scale, resolved.momentum, resolved.learning_rate) == (0.5, 0.5, 0.1)
    paper = sepme.SepME().resolve()
    assert (paper.learning_rate, paper.momentum, paper.scale) == (0.1, 0.9, 1e-4)
    assert (paper.penalty, paper.threshold, paper.max_steps) == (1e-6, 1e-4, 1000)
    assert (paper.batch_size, paper.bins, paper.basis) == (1, 50, "null-space")


def test_the_models_preset_reaches_the_provenance(tiny_folder, tmp_path) -> None:
    import shutil

    folder = tmp_path / "preset"
    shutil.copytree(tiny_folder, folder)
    facts = json.loads((folder / "sepme.json").read_text())
    facts["presets"] = {"sepme": SMALL | {"basis": "private"}}
    (folder / "sepme.json").write_text(json.dumps(facts))
    config = sepme.SepME(max_steps=3).fit(sepme.load(folder), TARGET).provenance.config
    assert config["basis"] == "private"
    assert config["max_steps"] == 3
    assert config["momentum"] == 0.9


def test_tells_what_happened(tiny_model) -> None:
    seen = []
    shift = sepme.SepME(**SMALL).fit(tiny_model, TARGET, retain=[OTHER], on_step=seen.append)
    fit = shift.provenance.fit
    assert [step.number for step in seen] == list(range(1, 13))
    assert (fit["steps"], fit["stopped"]) == (12, False)
    assert fit["momentum"] == seen[-1].momentum
    assert 0 < fit["separability"] <= 1
    assert fit["leak"] < 1e-12
    assert fit["directions"] == len(shift.payload.directions) == 64 - fit["rank"]
    assert seen[0].loss > 0  # nothing is changed yet: the mean of a square


def test_the_stop_ends_training_without_another_update(tiny_model) -> None:
    seen = []
    method = sepme.SepME(**SMALL | {"threshold": 1e9})
    early = method.fit(tiny_model, TARGET, on_step=seen.append)
    assert early.provenance.fit["stopped"]
    assert len(seen) == 11
    ten = sepme.SepME(**SMALL | {"max_steps": 10}).fit(tiny_model, TARGET)
    pairs = zip(early.payload.factors.values(), ten.payload.factors.values(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_penalty_shrinks_the_shift(tiny_model) -> None:
    def size(penalty: float) -> float:
        shift = sepme.SepME(**SMALL | {"penalty": penalty}).fit(tiny_model, TARGET)
        deltas = [shift.payload.delta(site, torch.empty(0)) for site in shift.payload.sites]
        return float(sum(delta.abs().sum() for delta in deltas))

    assert size(1.0) < size(0.0)


@pytest.mark.parametrize(("unit", "share"), [("batch", False), ("sample", True), ("channel", True)])
def test_what_is_decorrelated_by_itself_starts_whole(tiny_model, unit: str, share: bool) -> None:
    losses: list[float] = []
    method = sepme.SepME(**SMALL, decorrelate=unit)
    method.fit(tiny_model, TARGET, on_step=lambda step: losses.append(step.loss))
    assert (losses[0] == pytest.approx(1, abs=1e-4)) == share
    assert losses[-1] < losses[0]


def test_only_a_bounded_unit_may_be_reversed(tiny_model) -> None:
    def reached(reversal: float) -> float:
        method = sepme.SepME(
            **SMALL | {"threshold": -0.2, "max_steps": 80}, decorrelate="sample", reversal=reversal
        )
        return float(method.fit(tiny_model, TARGET).provenance.fit["momentum"])

    assert reached(0.0) >= 0
    assert -0.5 <= reached(0.5) < 0


@pytest.mark.parametrize("basis", ["null-space", "private"])
def test_one_map_of_text_space_can_be_learned_for_all_sites(tiny_model, basis: str) -> None:
    losses: list[float] = []
    method = sepme.SepME(**SMALL, learns="text", basis=basis)
    shift = method.fit(
        tiny_model, TARGET, retain=[OTHER], on_step=lambda step: losses.append(step.loss)
    )
    assert shift.payload.sites == tuple(sorted(tiny_model.sites()))
    assert shift.payload.left.shape == (64, shift.provenance.fit["directions"])
    assert losses[-1] < losses[0]
    rows = tiny_model.encode(OTHER.prompts) @ shift.payload.right.T
    assert rows.abs().max() < 1e-5
    assert (tiny_model.encode(TARGET.prompts) @ shift.payload.right.T).abs().max() > 1e-2


@pytest.mark.parametrize("learns", ["site", "text"])
def test_a_closed_form_start_is_nearer_to_the_goal(tiny_model, learns: str) -> None:
    first: dict[str, float] = {}
    for start in ("zero", "closed-form"):
        losses: list[float] = []
        method = sepme.SepME(**SMALL | {"max_steps": 1}, learns=learns, start=start,
                             decorrelate="sample", reversal=1.0)  # fmt: skip
        method.fit(tiny_model, TARGET, retain=[OTHER], on_step=lambda s: losses.append(s.loss))  # noqa: B023
        first[start] = losses[0]
    assert first["zero"] == pytest.approx(1, abs=1e-4)
    assert first["closed-form"] < 0.8


def test_target_modules_choose_the_sites(tiny_model) -> None:
    shift = sepme.SepME(**SMALL, target_modules=r".*\.attn2\.to_v").fit(tiny_model, TARGET)
    assert len(shift.payload.sites) == 4
    assert all(site.endswith("to_v") for site in shift.payload.sites)


def test_batches_of_several(tiny_model) -> None:
    shift = sepme.SepME(**SMALL | {"batch_size": 3}).fit(tiny_model, TARGET)
    assert shift.provenance.fit["steps"] == 12


def test_every_wording_counts(tiny_model) -> None:
    two = Concept("two", ("owl", "elk"))
    shift = sepme.SepME(**SMALL, basis="private").fit(tiny_model, two)
    one = sepme.SepME(**SMALL, basis="private").fit(tiny_model, Concept("one", ("owl",)))
    assert shift.provenance.fit["directions"] > one.provenance.fit["directions"]


def test_energy_cuts_the_private_directions(tiny_model) -> None:
    full, cut = (
        sepme.SepME(**SMALL, basis="private", energy=energy).fit(tiny_model, TARGET)
        for energy in (1.0, 0.6)
    )
    assert cut.nbytes < full.nbytes


def test_divergence_says_what_to_try(tiny_model) -> None:
    before = {site: weight.clone() for site, weight in tiny_model.backend.live().items()}
    with pytest.raises(Diverged, match="Try a tenth"):
        sepme.SepME(**SMALL | {"scale": 1e38, "learning_rate": 1e6}).fit(tiny_model, TARGET)
    assert all(torch.equal(tiny_model.backend.live()[s], w) for s, w in before.items())


def test_a_concept_to_be_left_alone_cannot_be_erased(tiny_model) -> None:
    method = sepme.SepME(**SMALL)
    with pytest.raises(NotSeparable, match="'alias' is to be left alone and has the same prompt"):
        method.fit(tiny_model, TARGET, retain=[Concept("alias", (*OTHER.prompts, *TARGET.prompts))])
    with pytest.raises(NotSeparable, match="'a' cannot be erased and left alone at once"):
        method.fit(tiny_model, TARGET, retain=[TARGET])
    with pytest.raises(NotSeparable, match="'mark' is to be left alone"):
        method.fit(tiny_model, Concept("x", ("#1",)))


def test_nothing_of_its_own_is_not_separable(tiny_model) -> None:
    alike = Concept("alike", ("owl ",))  # another prompt with the same tokens
    for basis in ("null-space", "private"):
        with pytest.raises(NotSeparable, match="lie in the span"):
            sepme.SepME(**SMALL, basis=basis).fit(tiny_model, TARGET, retain=[alike])


def test_a_known_concept_stays_listed_under_every_wording(tiny_model) -> None:
    """A retained concept of the same name must not push the known wording out."""
    method = sepme.SepME(**SMALL)
    tiny_model.erase(method.fit(tiny_model, OTHER))
    reworded = Concept(OTHER.name, ("elk",))
    ranks = {
        len(retain): method.fit(tiny_model, TARGET, retain=retain).provenance.fit["rank"]
        for retain in ([], [reworded])
    }
    assert ranks[1] > ranks[0]


def test_half_precision_weights_fit_float32_factors(tiny_folder) -> None:
    model = sepme.load(tiny_folder, dtype=torch.bfloat16)
    shift = sepme.SepME(**SMALL, basis="private").fit(model, TARGET)
    assert {factor.dtype for factor in shift.payload.factors.values()} == {torch.float32}
    assert all(factor.abs().max() > 0 for factor in shift.payload.factors.values())
    model.erase(shift)
