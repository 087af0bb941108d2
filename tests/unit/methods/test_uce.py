import json
import math
import shutil
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

import sepme
from sepme.core.concept import BLANK, Concept
from sepme.errors import BackendError, Interference, MethodError, NotSeparable, SpecError
from sepme.methods._rows import all_rows, pairs
from sepme.methods._spans import last_token
from sepme.methods.uce import UCE
from tests.tiny import TINY_CONCEPTS, TOKENS

TARGET, OTHER, THIRD = TINY_CONCEPTS[:3]


def dense(shift: sepme.ConceptShift) -> Tensor:
    """The map of text space, ``(d_text, d_text)``, float64."""
    return shift.payload.left.double() @ shift.payload.right.double()


def rows(model: sepme.ErasedPipeline, *prompts: str) -> Tensor:
    return model.encode(prompts).double()


def last_by_tokenizer(model: sepme.ErasedPipeline, prompt: str) -> int:
    tokens = model.pipeline.tokenizer(prompt, truncation=True).input_ids
    return max(1, len(tokens) - 2)  # a start and an end token


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("erase_scale", 0), ("erase_scale", math.nan), ("preserve_scale", -0.1), ("lamb", 0),
        ("lamb", "0.5"), ("rows", "first"), ("prompts", "more"), ("target_modules", 3),
    ],
)  # fmt: skip
def test_values_out_of_range(key: str, bad: object) -> None:
    with pytest.raises(SpecError, match=f"^{key} must be .*got"):
        UCE(**{key: bad})


def test_resolves_own_then_preset_then_paper(tiny_folder, tmp_path) -> None:
    paper = UCE().resolve()
    assert (paper.erase_scale, paper.preserve_scale, paper.lamb) == (1.0, 1.0, 0.5)
    assert paper.rows == "to-end"
    folder = tmp_path / "preset"
    shutil.copytree(tiny_folder, folder)
    facts = json.loads((folder / "sepme.json").read_text())
    facts["presets"] = {"uce": {"rows": "last", "lamb": 0.25}}
    (folder / "sepme.json").write_text(json.dumps(facts))
    config = UCE(lamb=2.0).fit(sepme.load(folder), TARGET).provenance.config
    assert (config["rows"], config["lamb"], config["erase_scale"]) == ("last", 2.0, 1.0)


# ------------------------------------------------------------------------------- alignment


@pytest.mark.parametrize(
    ("name", "prompts"),
    [
        ("tiny", ["o", "owl", "a cat", "owl owl", "abcdef", "abcdefghij"]),
        ("demo", ["Hokusai", "Van Gogh", "a cat by Hokusai", "zorvex meridian", "cat " * 30]),
    ],
)
def test_last_token_is_the_tokenizers(
    name: str, prompts: list[str], request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(f"{name}_model")
    expected = [last_by_tokenizer(model, prompt) for prompt in prompts]
    assert [last_token(model, prompt) for prompt in prompts] == expected
    assert len(set(expected)) > 2  # inverse check: it is not a constant
    assert last_token(model, "") == last_token(model, " ") == 1


def test_an_encoder_that_looks_ahead_is_refused() -> None:
    model = Mock(encode=lambda prompts: torch.randn(len(prompts), 6, 4))
    with pytest.raises(MethodError, match="causal"):
        last_token(model, "cat")


def expected_pairs(model: sepme.ErasedPipeline, prompt: str, anchor: str) -> tuple[Tensor, Tensor]:
    here, there = rows(model, prompt)[0], rows(model, anchor)[0]
    i, j = last_by_tokenizer(model, prompt), last_by_tokenizer(model, anchor)
    count = TOKENS - max(i, j)
    return here[i : i + count], there[j : j + count]


@pytest.mark.parametrize("anchor", ["", "o", "bird"])
def test_every_site_gets_the_closed_form(tiny_model: sepme.ErasedPipeline, anchor: str) -> None:
    concept = Concept("owl", ("owl", "an owl"), anchor)
    shift = UCE(erase_scale=0.7, preserve_scale=0.3, lamb=0.1).fit(
        tiny_model, concept, retain=[OTHER]
    )
    pairs = [expected_pairs(tiny_model, prompt, anchor) for prompt in concept.prompts]
    targets, goals = (torch.cat(part) for part in zip(*pairs, strict=True))
    known = [prompt for other in tiny_model.known for prompt in other.prompts]
    kept = rows(tiny_model, *known, *OTHER.prompts).flatten(0, 1)
    common = 0.1 * torch.eye(kept.shape[1]).double() + 0.3 * kept.T @ kept
    solved = common + 0.7 * goals.T @ targets
    solved = solved @ torch.linalg.inv(common + 0.7 * targets.T @ targets)
    assert shift.payload.sites == tuple(sorted(tiny_model.sites()))
    tiny_model.erase(shift)
    live = tiny_model.backend.live()
    for site, weight in tiny_model.sites().items():
        assert torch.allclose(live[site].double(), weight.double() @ solved, atol=1e-6)
        assert not torch.allclose(live[site], weight, atol=1e-4)  # inverse check
    fit = shift.provenance.fit
    assert (fit["rows"], fit["retained"]) == (len(targets), len(kept))


@pytest.mark.parametrize("choice", ["to-end", "last"])
def test_the_map_agrees_with_the_closed_form_of_each_site(
    tiny_model: sepme.ErasedPipeline, choice: str
) -> None:
    method = UCE(rows=choice, erase_scale=0.7, preserve_scale=0.3, lamb=0.2).resolve()
    moved = pairs(tiny_model, [TARGET, THIRD], choice)
    kept = all_rows(tiny_model, [BLANK, OTHER])
    found = method._map(moved, kept)
    for weight in tiny_model.sites().values():
        wide = weight.double()
        left, right = 0.2 * wide, 0.2 * torch.eye(wide.shape[1]).double()
        for c, goal in zip(*moved, strict=True):
            left = left + 0.7 * torch.outer(wide @ goal, c)
            right = right + 0.7 * torch.outer(c, c)
        for r in kept:
            left = left + 0.3 * torch.outer(wide @ r, r)
            right = right + 0.3 * torch.outer(r, r)
        expected = left @ torch.linalg.inv(right)
        edited = wide + wide @ found.dense()
        assert (edited - expected).abs().max() < 1e-10
        assert (wide - expected).abs().max() > 1e-3  # inverse check


def test_templates_of_its_kind_expand_a_concept(tiny_model: sepme.ErasedPipeline) -> None:
    for kind, anchor in (("style", ""), ("object", "o"), ("watermark", "o")):
        concept = Concept("owl", ("owl", "elk"), anchor, kind)
        own, more = (pairs(tiny_model, [concept], "last", w) for w in ("own", "expanded"))
        assert (len(own.targets), len(more.targets)) == (2, 7)
        assert torch.equal(more.targets[:2], own.targets)
        blank = rows(tiny_model, "")[0, 1]
        kept = [bool(torch.equal(row, blank)) for row in more.anchors]
        assert kept == [anchor == ""] * 7
    shifts = [UCE(prompts=p).fit(tiny_model, TARGET) for p in ("own", "expanded")]
    assert shifts[1].provenance.fit["rows"] > shifts[0].provenance.fit["rows"]
    assert shifts[0] != shifts[1]


def test_templates_end_with_the_concept_and_are_no_demo_ones() -> None:
    from sepme.demo.templates import TEMPLATES
    from sepme.methods._rows import _OTHER, _TEMPLATES

    ours = [form for forms in (*_TEMPLATES.values(), _OTHER) for form in forms]
    assert all(form.endswith(" {}") and form.count("{}") == 1 for form in ours)
    heldout = {t.format(object="{}", style="{}") for s in TEMPLATES["heldout"].values() for t in s}
    assert not heldout & set(ours)
    assert "a painting by {}" in heldout  # inverse check: the comparison can find one


def test_anchors_differ(tiny_model: sepme.ErasedPipeline) -> None:
    blank, bird = (UCE().fit(tiny_model, Concept("owl", ("owl",), a)) for a in ("", "bird"))
    assert not torch.allclose(dense(blank), dense(bird), atol=1e-3)


# -------------------------------------------------------------------------- what it does


@pytest.mark.parametrize("choice", ["to-end", "last"])
def test_the_concept_goes_to_its_anchor_and_others_stay(
    tiny_model: sepme.ErasedPipeline, choice: str
) -> None:
    shift = UCE(rows=choice, lamb=1e-6).fit(tiny_model, TARGET, retain=[OTHER])
    change = dense(shift)
    last = last_by_tokenizer(tiny_model, TARGET.prompts[0])
    here, there = rows(tiny_model, TARGET.prompts[0])[0, last], rows(tiny_model, "")[0, 1]
    assert torch.allclose(here + change @ here, there, atol=1e-2)
    assert (here - there).norm() > 0.5
    assert shift.provenance.fit["residual"] < 1e-3
    moved = rows(tiny_model, "", "fig").flatten(0, 1) @ change.T
    assert moved.norm(dim=1).max() < 1e-2
    assert (change @ rows(tiny_model, "pen")[0, 3]).norm() > 0.05  # soft: unlisted prompts move


def test_tells_how_far_it_got(tiny_model: sepme.ErasedPipeline) -> None:
    shift = UCE().fit(tiny_model, TARGET)
    pairs = expected_pairs(tiny_model, TARGET.prompts[0], "")
    gap = pairs[1] - pairs[0]
    missed = gap - pairs[0] @ dense(shift).T
    kept = rows(tiny_model, *(p for c in tiny_model.known for p in c.prompts)).flatten(0, 1)
    moved = (kept @ dense(shift).T).norm(dim=1) / kept.norm(dim=1)
    fit = shift.provenance.fit
    assert fit["residual"] == pytest.approx(float(missed.norm() / gap.norm()), rel=1e-3)
    assert fit["moved"] == pytest.approx(float(moved.max()), rel=1e-3)
    assert UCE(lamb=1e4).fit(tiny_model, TARGET).provenance.fit["residual"] > 0.9


def test_retaining_leaves_a_concept_nearer_to_where_it_was(
    tiny_model: sepme.ErasedPipeline,
) -> None:
    own = rows(tiny_model, *OTHER.prompts).flatten(0, 1)
    alone, kept = (UCE().fit(tiny_model, TARGET, retain=r) for r in ([], [OTHER]))
    assert (own @ dense(kept).T).norm() < (own @ dense(alone).T).norm() / 2
    assert kept.decoupled_from == ()  # softly: it is measured, not promised


def test_rank_and_size(tiny_model: sepme.ErasedPipeline) -> None:
    all_rows, last = (UCE(rows=r).fit(tiny_model, TARGET) for r in ("to-end", "last"))
    assert all_rows.provenance.fit["rank"] == all_rows.provenance.fit["rows"] == TOKENS - 3
    assert last.provenance.fit["rank"] == last.provenance.fit["rows"] == 1
    assert last.nbytes == 4 * 2 * 64
    two = UCE(rows="last").fit(tiny_model, Concept("two", ("owl", "elk")))
    assert two.provenance.fit["rank"] == 2


def test_target_modules_choose_the_sites(tiny_model: sepme.ErasedPipeline) -> None:
    shift = UCE(target_modules=r".*\.attn2\.to_v").fit(tiny_model, TARGET)
    assert len(shift.payload.sites) == 4
    assert all(site.endswith("to_v") for site in shift.payload.sites)
    with pytest.raises(BackendError, match="matches no linear"):
        UCE(target_modules="x").fit(tiny_model, TARGET)


def test_half_precision_weights_fit_float32_factors(tiny_folder) -> None:
    model = sepme.load(tiny_folder, dtype=torch.bfloat16)
    shift = UCE().fit(model, TARGET)
    assert {shift.payload.left.dtype, shift.payload.right.dtype} == {torch.float32}
    model.erase(shift)
    live, pristine = model.backend.live(), model.sites()
    assert all(not torch.equal(live[site], weight) for site, weight in pristine.items())


def test_what_cannot_be_mapped(tiny_model: sepme.ErasedPipeline) -> None:
    with pytest.raises(MethodError, match="Give it another anchor"):
        UCE().fit(tiny_model, Concept("owl", ("owl",), anchor="owl "))
    with pytest.raises(NotSeparable, match="'mark' is to be left alone"):
        UCE().fit(tiny_model, Concept("x", ("#1",)))
    with pytest.raises(NotSeparable, match="blank"):
        UCE().fit(tiny_model, BLANK)


# ------------------------------------------------------------------------ several at once


def test_several_concepts_are_one_shift(tiny_model: sepme.ErasedPipeline) -> None:
    (shift,) = UCE().fit_many(tiny_model, [OTHER, TARGET], retain=[THIRD])
    assert shift.name == f"{TARGET.name}+{OTHER.name}"
    (turned,) = UCE().fit_many(tiny_model, [TARGET, OTHER], retain=[THIRD])
    assert turned == shift
    parts = [UCE().fit(tiny_model, concept, retain=[THIRD]) for concept in (TARGET, OTHER)]
    assert shift.provenance.fit["rows"] == sum(part.provenance.fit["rows"] for part in parts)
    assert shift.provenance.fit["retained"] == parts[0].provenance.fit["retained"]
    summed = sum(dense(part) for part in parts)
    assert not torch.allclose(dense(shift), summed, atol=1e-3)  # why it is not separable
    (one,) = UCE().fit_many(tiny_model, [TARGET], retain=[THIRD])
    assert one == parts[0]
    assert UCE().fit_many(tiny_model, []) == ()


def test_a_known_concept_that_is_erased_anew_is_not_retained(
    tiny_model: sepme.ErasedPipeline,
) -> None:
    expected = UCE().fit_many(tiny_model, [TARGET, OTHER])
    tiny_model.erase(*expected)
    assert UCE().fit_many(tiny_model, [TARGET, OTHER]) == expected
    again = UCE().fit(tiny_model, THIRD)  # inverse check: for another concept they are
    assert again.provenance.fit["retained"] == 5 * TOKENS


def test_contradictions_are_refused(tiny_model: sepme.ErasedPipeline) -> None:
    with pytest.raises(MethodError, match="twice"):
        UCE().fit_many(tiny_model, [TARGET, TARGET])
    with pytest.raises(NotSeparable, match="'b' cannot be erased and left alone"):
        UCE().fit_many(tiny_model, [TARGET, OTHER], retain=[OTHER])


def test_restored_together_and_never_beside_another(tiny_model: sepme.ErasedPipeline) -> None:
    tiny_model.erase(*UCE().fit_many(tiny_model, [TARGET, OTHER]))
    assert tiny_model.erased == (TARGET.name, OTHER.name)
    with pytest.raises(Interference, match="Fit the concepts together"):
        tiny_model.erase(UCE().fit(tiny_model, THIRD))
    with pytest.raises(NotSeparable, match="erased jointly"):
        tiny_model.restore(TARGET.name)
    tiny_model.restore(TARGET.name, OTHER.name)
    live, pristine = tiny_model.backend.live(), tiny_model.sites()
    assert all(torch.equal(live[site], weight) for site, weight in pristine.items())
