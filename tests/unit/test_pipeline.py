import pytest
import torch

import sepme
from sepme.core.concept import Concept
from sepme.errors import BaseMismatch, Interference, LedgerError, NotErased
from sepme.pipeline import ErasedPipeline
from tests.shifts import make_shift
from tests.tiny import TINY_CONCEPTS, null_space_shift, null_space_shifts

ONE, TWO, THREE = TINY_CONCEPTS[:3]


def weights_of(model: ErasedPipeline) -> dict[str, torch.Tensor]:
    return {site: weight.clone() for site, weight in model.backend.live().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[site], other[site]) for site in one)


def test_starts_with_nothing_erased(tiny_model: ErasedPipeline) -> None:
    assert tiny_model.erased == ()
    assert tiny_model.shifts == ()
    assert [concept.name for concept in tiny_model.known] == ["blank", "mark", "seal"]


def test_erase_and_restore(tiny_model: ErasedPipeline) -> None:
    pristine = weights_of(tiny_model)
    two, one = (null_space_shift(tiny_model, concept, [ONE, TWO]) for concept in (TWO, ONE))
    tiny_model.erase(two, one)
    assert tiny_model.erased == ("a", "b")
    assert tiny_model.shifts == (one, two)
    tiny_model.restore("a")
    assert tiny_model.erased == ("b",)
    assert [concept.name for concept in tiny_model.known][3:] == ["a", "b"]
    assert not same(weights_of(tiny_model), pristine)
    tiny_model.restore("b")
    assert same(weights_of(tiny_model), pristine)


def test_strength_scales_the_shift(tiny_model: ErasedPipeline) -> None:
    shift, base = null_space_shift(tiny_model, ONE), weights_of(tiny_model)
    site = shift.payload.sites[0]
    changes = []
    for strength in (1.0, 0.5):
        tiny_model.erase(shift, strength=strength)
        changes.append(weights_of(tiny_model)[site] - base[site])
    assert torch.allclose(changes[0], 2 * changes[1], atol=1e-6)
    with pytest.raises(LedgerError, match="strength"):
        tiny_model.erase(shift, strength=3.0)


def test_a_new_shift_replaces_the_old_one(tiny_model: ErasedPipeline) -> None:
    old, new = (null_space_shift(tiny_model, ONE, seed=seed) for seed in (1, 2))
    tiny_model.erase(new)
    expected = weights_of(tiny_model)
    tiny_model.erase(old)
    assert not same(weights_of(tiny_model), expected)
    tiny_model.erase(new)
    assert same(weights_of(tiny_model), expected)


def test_all_or_nothing(tiny_model: ErasedPipeline) -> None:
    tiny_model.erase(null_space_shift(tiny_model, ONE))
    before, ledger = weights_of(tiny_model), tiny_model.ledger
    foreign = make_shift("foreign")
    joint = make_shift("joint", base=tiny_model.fingerprint)  # sites this model does not have
    for bad in (foreign, joint):
        with pytest.raises(BaseMismatch):
            tiny_model.erase(null_space_shift(tiny_model, TWO), bad)
    with pytest.raises(NotErased):
        tiny_model.restore("a", "c")
    assert tiny_model.ledger == ledger
    assert same(weights_of(tiny_model), before)


def test_an_interrupted_write_is_undone(
    tiny_model: ErasedPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_model.erase(null_space_shift(tiny_model, ONE))
    before, ledger, write = weights_of(tiny_model), tiny_model.ledger, tiny_model.backend.write
    pending = [KeyboardInterrupt]

    def half(weights) -> None:
        write(dict(list(weights.items())[: 3 if pending else None]))
        if pending:
            raise pending.pop()

    monkeypatch.setattr(tiny_model.backend, "write", half)
    with pytest.raises(KeyboardInterrupt):
        tiny_model.erase(null_space_shift(tiny_model, TWO))
    assert tiny_model.ledger == ledger
    assert same(weights_of(tiny_model), before)


def test_shifts_that_are_not_separable_need_consent(tiny_model: ErasedPipeline) -> None:
    from dataclasses import replace

    one, two = (replace(s, separable=False) for s in null_space_shifts(tiny_model, [ONE, TWO]))
    tiny_model.erase(one)
    with pytest.raises(Interference):
        tiny_model.erase(two)
    tiny_model.erase(two, allow_interference=True)
    assert tiny_model.erased == ("a", "b")


def test_restored_is_for_a_while(tiny_model: ErasedPipeline) -> None:
    tiny_model.erase(*null_space_shifts(tiny_model, [ONE, TWO]))
    before = weights_of(tiny_model)

    def failing() -> None:
        with tiny_model.restored("a") as inside:
            assert inside.erased == ("b",)
            assert not same(weights_of(tiny_model), before)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert tiny_model.erased == ("a", "b")
    assert same(weights_of(tiny_model), before)


def test_the_pipeline_is_diffusers_own(tiny_model: ErasedPipeline) -> None:
    draw = {"num_inference_steps": 2, "output_type": "np"}

    def image():
        return tiny_model.pipeline("owl", generator=torch.Generator().manual_seed(0), **draw).images

    before = image()
    tiny_model.erase(null_space_shift(tiny_model, ONE))
    assert not (image() == before).all()
    tiny_model.restore("a")
    assert (image() == before).all()


def test_save_and_load(tiny_model: ErasedPipeline, tiny_folder, tmp_path) -> None:
    tiny_model.erase(*null_space_shifts(tiny_model, [ONE, TWO, THREE]), strength=0.5)
    tiny_model.restore("b")
    directory = tiny_model.save(tmp_path / "ledger", reason="a request")
    assert directory.ledger == tiny_model.ledger
    again = sepme.load(tiny_folder, ledger=tmp_path / "ledger")
    assert again.ledger == tiny_model.ledger
    assert same(weights_of(again), weights_of(tiny_model))
    again.restore("a", "c")
    assert same(weights_of(again), dict(tiny_model.sites()))


def test_saving_again_brings_the_folder_up(tiny_model: ErasedPipeline, tmp_path) -> None:
    folder = tmp_path / "ledger"
    one, two = null_space_shifts(tiny_model, [ONE, TWO])
    for change in (
        lambda: tiny_model.erase(one),
        lambda: tiny_model.erase(two),
        lambda: tiny_model.restore("a"),
        lambda: tiny_model.erase(one, strength=0.5),
        lambda: tiny_model.restore("a", "b"),
        lambda: None,
    ):
        change()
        assert tiny_model.save(folder).ledger == tiny_model.ledger
    records = len(tiny_model.save(folder).history())
    assert records == len(tiny_model.save(folder).history())  # nothing to add


def test_saving_does_not_mix_two_histories(tiny_model: ErasedPipeline, tmp_path) -> None:
    tiny_model.erase(null_space_shift(tiny_model, ONE))
    tiny_model.save(tmp_path / "ledger")
    other = ErasedPipeline(tiny_model.backend)
    other.erase(null_space_shift(tiny_model, TWO))
    with pytest.raises(LedgerError, match="'a', which this pipeline has never held"):
        other.save(tmp_path / "ledger")
    other.open(tmp_path / "ledger")
    assert other.erased == ("a",)


def test_a_ledger_of_another_base(tiny_model: ErasedPipeline, demo_model, tmp_path) -> None:
    tiny_model.erase(null_space_shift(tiny_model, ONE))
    tiny_model.save(tmp_path / "ledger")
    with pytest.raises(BaseMismatch, match="Load the model the ledger was made for"):
        demo_model.open(tmp_path / "ledger")
    with pytest.raises(BaseMismatch, match="Save into a new folder"):
        demo_model.save(tmp_path / "ledger")
    assert demo_model.erased == ()
    with pytest.raises(LedgerError):
        tiny_model.open(tmp_path / "none")


def test_the_demo_says_what_it_draws(demo_model: ErasedPipeline) -> None:
    images = demo_model.generate(["a cat", "a dog"], seeds=[0, 1], steps=2)
    labels = demo_model.detector(images)
    assert {head: len(names) for head, names in labels.items()} == {"style": 2, "object": 2}


def test_a_method_fits_on_the_pipeline_itself(tiny_model: ErasedPipeline) -> None:
    method = sepme.SepME(images=1, pool=2, max_steps=2, scale=0.02, basis="private")
    shifts = method.fit_many(tiny_model, [ONE, TWO], retain=[THREE], seed=1)
    assert [shift.decoupled_from for shift in shifts] == [
        ("b", "blank", "c", "mark", "seal"),
        ("a", "blank", "c", "mark", "seal"),
    ]
    tiny_model.erase(*shifts)
    assert tiny_model.erased == ("a", "b")
    later = method.fit(tiny_model, Concept("d", ("sky",)))
    assert later.decoupled_from == ("a", "b", "blank", "mark", "seal")
