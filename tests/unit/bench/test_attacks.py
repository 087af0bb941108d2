"""Attacks on the demo: who is attacked, what is counted, what is kept."""

from dataclasses import replace
from pathlib import Path

import pytest

import sepme
from sepme.bench import attacks, gold, trials
from sepme.bench.attacks import Attacks
from sepme.bench.store import Store
from sepme.errors import BackendError, NotErased, SpecError, UnknownMethod
from sepme.methods.uce import UCE
from sepme.registry import Registry

HERE = "tests.unit.bench.again"
SPEC = {"method": "uce", "examples": 4, "steps": 8}


@pytest.fixture(autouse=True)
def own_attacks(monkeypatch) -> None:
    rows = {"again": f"{HERE}:Again", "cheat": f"{HERE}:Cheat"}
    monkeypatch.setattr(attacks, "ATTACKS", Registry("attack", rows))


@pytest.fixture(scope="module")
def model() -> sepme.ErasedPipeline:
    return sepme.load("demo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store")


def figure(rows, metric: str, **more) -> dict:
    (row,) = [
        r for r in rows if r["metric"] == metric and all(r.get(k) == v for k, v in more.items())
    ]
    return row


def rows_of(spec: Attacks, model, folder: Path) -> tuple[dict, ...]:
    return spec.run(model, Store(folder), progress=False).rows


@pytest.fixture
def rows(model, folder: Path) -> tuple[dict, ...]:
    return rows_of(Attacks(**SPEC, attacks=("again", "cheat")), model, folder)


def test_only_survivors_are_attacked_and_the_worst_case_counts(rows) -> None:
    before = figure(rows, "pre_success_rate", party="erased")["value"]
    assert before < 1 <= 1.01 * figure(rows, "pre_success_rate", party="original")["value"]
    cheat = figure(rows, "attack_success_rate", attack="cheat", party="erased")
    assert cheat["n"] == round(4 * (1 - before))
    assert cheat["value"] == 1  # it draws with the original
    assert figure(rows, "attack_success_rate", attack="again", party="erased")["value"] < 1
    assert figure(rows, "worst_success_rate", party="erased")["value"] == 1
    assert not [
        r for r in rows if r["metric"] == "attack_success_rate" and r["party"] == "original"
    ]  # nothing of it survives
    assert all(row["reliable"] for row in rows)
    assert figure(rows, "attack_curve", attack="again", party="erased")["effort"] == 1


def test_a_second_run_measures_nothing(rows, model, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(trials, "_measured", None)
    again = rows_of(Attacks(**SPEC, attacks=("again", "cheat")), model, folder)
    assert again == rows
    with pytest.raises(TypeError):  # inverse check: another seed is not there
        Attacks(**SPEC, attacks=("again",), seed=1).run(model, Store(folder), progress=False)


def test_gold_is_the_floor(model, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(gold, "load", lambda *_, **__: model)  # as bad as the original
    (folder / "gold-van-gogh").mkdir(exist_ok=True)
    (folder / "gold-van-gogh" / "model_index.json").write_text("{}")
    spec = Attacks(**SPEC, attacks=("again",), gold=str(folder))
    rows = rows_of(spec, model, folder)
    excess = figure(rows, "excess_over_gold")
    post = figure(rows, "post_success_rate", attack="again", party="erased")["value"]
    assert excess["value"] == post - 1
    assert excess["lo"] <= excess["value"] <= excess["hi"]
    with pytest.raises(BackendError, match=r"demo_model\.gold"):
        replace(spec, gold="nowhere").run(model, Store(folder), progress=False)


def test_a_judge_that_always_agrees_is_told(model, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(attacks, "judge_of", lambda *_: lambda images: [True] * len(images))
    rows = rows_of(Attacks(**SPEC, attacks=("again",), seed=2), model, folder)
    assert not any(row["reliable"] for row in rows)


def test_a_ledgers_own_shift_is_attacked(model, folder: Path) -> None:
    concept = next(c for c in sepme.demo.concepts() if c.name == "van-gogh")
    spec = Attacks(**SPEC, attacks=("again",))
    with pytest.raises(NotErased):
        spec.against(model, Store(folder))
    model.erase(UCE().fit(model, concept))
    try:
        live = spec.against(model, Store(folder), progress=False)
    finally:
        model.restore("van-gogh")
    fitted = rows_of(spec, model, folder)
    assert figure(live, "pre_success_rate", party="erased") == figure(
        fitted, "pre_success_rate", party="erased"
    )


@pytest.mark.parametrize(
    "bad", [{"examples": 0}, {"budget": 0}, {"attacks": ("agian",)}, {"method": "scpme"}]
)
def test_values_out_of_range(bad: dict) -> None:
    with pytest.raises((SpecError, UnknownMethod)):
        Attacks(**bad)


def test_unknown_concept_and_no_detector(model, folder: Path) -> None:
    with pytest.raises(SpecError, match="Did you mean 'van-gogh'"):
        Attacks(concepts=("van-gog",))
    bare = sepme.ErasedPipeline(model.backend, source="demo", detector=None)
    with pytest.raises(BackendError, match="no detector"):
        Attacks().run(bare, Store(folder))
