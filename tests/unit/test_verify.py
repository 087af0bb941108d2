import json

import pytest
import torch
from PIL import Image

import sepme
from sepme.core.concept import Concept
from sepme.core.payload import SiteShift
from sepme.core.shift import ConceptShift, Provenance
from sepme.errors import BackendError, NotErased, SpecError
from sepme.linalg.null_space import null_space, private_directions
from sepme.metrics import wilson
from sepme.report import write_report
from sepme.verify import Check, Evidence, Thresholds, verify
from sepme.verify.cases import BATCH, chunks, plan_blocks, seeds_from
from sepme.verify.judge import judge

CONCEPTS = {concept.name: concept for concept in sepme.demo.concepts()}
STYLES = [c for c in CONCEPTS.values() if c.kind == "style"]
GONE, ALSO_GONE, BACK = STYLES[:3]
STEPS = 2
"""Denoising steps: what is tested here holds for any number of them."""
OBJECT = next(c for c in CONCEPTS.values() if c.kind == "object")


def shift_for(model, concept: Concept, others, *, size: float = 0.3, listed=None) -> ConceptShift:
    """A random shift in the null space of the others, as a fit would make it."""
    kept = {c.name: c for c in (*model.known, *others) if c.name != concept.name}
    space = null_space(model.encode([p for c in kept.values() for p in c.prompts]))
    directions = private_directions(model.encode(concept.prompts), space).float()
    draw = torch.Generator().manual_seed(len(concept.name))
    factors = {
        site: size * torch.randn(len(weight), len(directions), generator=draw)
        for site, weight in model.sites().items()
    }
    names = tuple(kept) if listed is None else listed
    origin = Provenance(model.fingerprint, "sepme", {}, 0, {})
    return ConceptShift((concept,), SiteShift(directions, factors), names, True, origin)


def ready(*, detector: bool = True) -> sepme.ErasedPipeline:
    """Two styles erased and one restored."""
    model = sepme.load("demo")
    if not detector:
        model.detector = None
    three = (GONE, ALSO_GONE, BACK)
    model.erase(*(shift_for(model, concept, three) for concept in three))
    model.restore(BACK.name)
    return model


@pytest.fixture(scope="module")
def model() -> sepme.ErasedPipeline:
    return ready()


class Counter:
    """Counts every image the pipeline really draws, by weights, prompt and seed."""

    def __init__(self, model) -> None:
        self.model, self.real, self.drawn = model, model.generate, []

    def __call__(self, prompts, *, seeds, steps):
        live = self.model.backend.live()
        state = tuple(float(w.double().sum()) for w in live.values())
        self.drawn += [(state, p, s) for p, s in zip(prompts, seeds, strict=True)]
        return self.real(prompts, seeds=seeds, steps=steps)


@pytest.fixture(scope="module")
def found(model) -> tuple[Evidence, Counter, dict, str]:
    """One small verification, what it drew, and the state before it."""
    before = {site: weight.clone() for site, weight in model.backend.live().items()}
    digest, counter = model.ledger.digest, Counter(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "generate", counter)
        evidence = verify(model, n=2, steps=STEPS, progress=False)
    return evidence, counter, before, digest


def check(evidence: Evidence, start: str) -> Check:
    return next(c for c in evidence.checks if c.name.startswith(start))


def test_every_exact_claim_holds_on_the_demo(found) -> None:
    evidence = found[0]
    assert [c for c in evidence.checks if c.passed is not True] == []
    names = " ".join(c.name for c in evidence.checks)
    for phrase in ("weights", "images", "came back", BACK.prompts[0], "blank", "ledger recorded"):
        assert phrase in names
    assert evidence.row("restore_error", BACK.name, "literal")["value"] <= 1
    assert evidence.row("restore_error", "blank", "literal")["value"] <= 1
    # inverse check: an erased concept's own images did change
    assert evidence.row("drift_psnr", GONE.name, "literal")["value"] < 60


def test_verification_leaves_the_model_as_it_was(model, found) -> None:
    _, _, before, digest = found
    assert model.ledger.digest == digest
    assert all(torch.equal(model.backend.live()[site], before[site]) for site in before)


def test_no_image_is_drawn_twice(found) -> None:
    evidence, counter, _, _ = found
    assert len(counter.drawn) == evidence.environment["images"]
    by_state: dict = {}
    for state, prompt, seed in counter.drawn:
        by_state.setdefault((prompt, seed), []).append(state)
    assert max(len(states) for states in by_state.values()) <= 4
    # live, original and one more state; only "all restored" draws original weights again
    assert len(counter.drawn) - len(set(counter.drawn)) <= BATCH


def test_rows_are_tidy_and_every_rate_has_wilson_bounds(found) -> None:
    evidence = found[0]
    keys = ["benchmark", "method", "concepts", "split", "metric", "value", "n", "lo", "hi", "seeds"]
    rates = 0
    for row in evidence.rows:
        assert list(row) == keys
        assert row["n"] > 0
        if row["metric"].endswith("accuracy"):
            rates += 1
            expected = wilson(round(row["value"] * row["n"]), row["n"])
            assert (row["lo"], row["hi"]) == expected
    assert rates >= 12
    figures = {(r["metric"], r["concepts"], r["split"]) for r in evidence.rows}
    assert len(figures) == len(evidence.rows)
    for split in ("literal", "train", "heldout"):
        assert ("erased_accuracy", GONE.name, split) in figures
        assert ("restored_accuracy", BACK.name, split) in figures
    assert ("cross_domain_accuracy", GONE.name, "heldout") in figures
    assert ("retained_accuracy", "objects", "heldout") in figures


def test_evidence_goes_to_json_and_to_a_page(found, tmp_path) -> None:
    evidence = found[0]
    data = json.loads(json.dumps(evidence.to_dict(), allow_nan=False))
    assert data["erased"] == sorted([GONE.name, ALSO_GONE.name])
    assert data["restored"] == [BACK.name]
    assert data["environment"]["base"].startswith("sha256:")
    html = write_report(evidence, tmp_path / "report.html").read_text(encoding="utf-8")
    assert evidence.verdict.split(" ")[0] in html
    shown = {triplet.concept for triplet in evidence.grids}
    assert shown == {GONE.name, ALSO_GONE.name, BACK.name}


def test_the_default_size_stays_near_550_images(model) -> None:
    from sepme.verify.run import _jobs

    jobs = _jobs(model, plan_blocks(model, 48, 0))
    assert 500 <= len({(state, case) for state, cases in jobs for case in cases}) <= 580


def test_prompts_are_labelled_balanced_and_use_seeds_no_fit_uses(model) -> None:
    blocks = plan_blocks(model, 48, 0)
    heldout = next(b for b in blocks if b.name == GONE.name and b.split == "heldout")
    objects = [case.object for case in heldout.cases if case.object]
    assert len(objects) >= 40
    assert max(objects.count(name) for name in objects) <= 2
    for case in heldout.cases:
        assert case.style == GONE.name
        assert GONE.prompts[0] in case.prompt
        assert case.object is None or CONCEPTS[case.object].prompts[0] in case.prompt
    assert min(case.seed for block in blocks for case in block.cases) == seeds_from(0) >= 100_000
    touched = {GONE.name, ALSO_GONE.name, BACK.name}
    retained = [case for block in blocks if block.role == "retained" for case in block.cases]
    assert not touched & {case.style for case in retained}
    for block in blocks:  # originals come in the very batches of the live images
        assert chunks(block.pairs) == chunks(block.cases)[: len(chunks(block.pairs))]


def test_an_erased_object_is_judged_by_the_object_head() -> None:
    model = sepme.load("demo")
    model.erase(shift_for(model, OBJECT, ()))
    blocks = [b for b in plan_blocks(model, 6, 0) if b.role == "erased"]
    assert {block.head for block in blocks} == {"object"}
    cases = [case for block in blocks if block.split == "heldout" for case in block.cases]
    assert all(case.object == OBJECT.name for case in cases)
    assert {case.style for case in cases} - {None} <= {style.name for style in STYLES}
    assert any(case.style for case in cases)


def test_without_a_detector_erasure_is_not_verified() -> None:
    model = ready(detector=False)
    evidence = verify(model, n=1, steps=STEPS, progress=False)
    assert evidence.passed
    assert not evidence.erasure_verified
    assert "erasure not verified" in evidence.verdict
    assert evidence.judgements == ()
    assert {r["metric"] for r in evidence.rows} == {"drift_psnr", "restore_error"}


def test_what_was_not_promised_is_measured_only() -> None:
    model = sepme.load("demo")
    model.detector = None
    gone = shift_for(model, GONE, (), listed=("blank",))
    model.erase(gone, shift_for(model, BACK, (GONE,)))
    model.restore(BACK.name)
    evidence = verify(model, n=1, steps=STEPS, progress=False)
    restored = check(evidence, BACK.prompts[0])
    assert restored.passed is None
    assert f"Not promised by {GONE.name}; leak" in restored.detail
    assert check(evidence, "the blank prompt").passed is True


def test_a_false_promise_is_caught() -> None:
    model = sepme.load("demo")
    model.detector = None
    liar = shift_for(model, GONE, (), size=3.0, listed=("blank", BACK.name))
    model.erase(liar, shift_for(model, BACK, (GONE,)))
    model.restore(BACK.name)
    evidence = verify(model, n=1, steps=STEPS, progress=False)
    assert check(evidence, BACK.prompts[0]).passed is False
    assert not evidence.passed


def blank_pictures(prompts, **_) -> list[Image.Image]:
    return [Image.new("RGB", (64, 64)) for _ in prompts]


def test_weights_that_are_not_the_ledgers_are_caught(monkeypatch) -> None:
    model = ready(detector=False)
    monkeypatch.setattr(model, "generate", blank_pictures)
    site, weight = next(iter(model.backend.live().items()))
    model.backend.write({site: weight + 0.01})
    evidence = verify(model, n=1, steps=STEPS, progress=False)
    assert check(evidence, "the live weights").passed is False
    assert check(evidence, "everything restored: the model is the base").passed is True
    model = ready(detector=False)
    monkeypatch.setattr(model, "generate", blank_pictures)
    next(model.pipeline.text_encoder.parameters()).data.add_(0.01)
    evidence = verify(model, n=1, steps=STEPS, progress=False)
    assert check(evidence, "the live weights").passed is True
    assert check(evidence, "everything restored: the model is the base").passed is False


@pytest.mark.parametrize("broken", [lambda images: images[:-1], lambda images: [None, *images[1:]]])
def test_a_missing_image_raises_and_the_model_is_left_alone(monkeypatch, broken) -> None:
    model = ready(detector=False)
    before = {site: weight.clone() for site, weight in model.backend.live().items()}
    picture = Image.new("RGB", (64, 64))
    monkeypatch.setattr(model, "generate", lambda prompts, **_: broken([picture] * len(prompts)))
    with pytest.raises(BackendError, match="missing image"):
        verify(model, progress=False)
    assert all(torch.equal(model.backend.live()[site], before[site]) for site in before)


def test_pixels_that_are_not_numbers_raise() -> None:
    model = ready(detector=False)
    model.pipeline.vae.decoder.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(BackendError, match="not numbers"):
        verify(model, n=1, steps=STEPS, progress=False)


def test_a_crash_half_way_brings_the_weights_back(monkeypatch) -> None:
    model = ready(detector=False)
    before = {site: weight.clone() for site, weight in model.backend.live().items()}
    ledger, calls = model.ledger, []
    picture = Image.new("RGB", (64, 64))
    for last in (3, 9, 12):
        calls.clear()

        def draw(prompts, last=last, **_):
            calls.append(prompts)
            if len(calls) > last:
                raise KeyboardInterrupt
            return [picture] * len(prompts)

        monkeypatch.setattr(model, "generate", draw)
        with pytest.raises(KeyboardInterrupt):
            verify(model, n=2, progress=False)
        assert model.ledger == ledger
        assert all(torch.equal(model.backend.live()[site], before[site]) for site in before)


def test_nothing_erased_and_bad_sizes_are_refused(model) -> None:
    with pytest.raises(NotErased):
        verify(sepme.load("demo"), progress=False)
    with pytest.raises(SpecError):
        verify(model, n=0, progress=False)


def rate(metric: str, seen: int, n: int, concepts: str = GONE.name) -> dict:
    low, high = wilson(seen, n)
    row = {"concepts": concepts, "split": "heldout", "metric": metric, "value": seen / n}
    return row | {"n": n, "lo": low, "hi": high}


@pytest.mark.parametrize(
    ("row", "passed"),
    [
        (rate("erased_accuracy", 4, 48), True),
        (rate("erased_accuracy", 5, 48), False),
        (rate("original_accuracy", 20, 24), True),
        (rate("original_accuracy", 12, 24), False),
        (rate("retained_drop", 1, 100, "styles"), True),
        (rate("retained_drop", 2, 41, "styles"), None),
        (rate("retained_drop", 10, 41, "styles"), False),
    ],
)
def test_thresholds_judge_both_ways(row: dict, passed: bool | None) -> None:
    (judged,) = judge([row], STYLES, Thresholds())
    assert judged.passed is passed
