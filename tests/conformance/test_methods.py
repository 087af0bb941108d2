"""What every registered method must do."""

import inspect
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sepme.core.concept import BLANK, Concept
from sepme.core.method import Method
from sepme.errors import MethodError, NotSeparable, NullSpaceExhausted, SepmeError, SpecError
from sepme.io.shift_file import load_shift, save_shift
from sepme.io.unfinished import resumable
from sepme.methods import METHODS
from sepme.pipeline import ErasedPipeline
from tests.conformance.cases import CASES
from tests.tiny import TINY_CONCEPTS, null_space_shift

TARGET, OTHER, THIRD = TINY_CONCEPTS[:3]
every_method = pytest.mark.parametrize("method", CASES.values(), ids=CASES)
stepwise = [m for m in CASES.values() if hasattr(m, "max_steps")]
every_stepwise = pytest.mark.parametrize("method", stepwise, ids=lambda method: method.name)
trained = [m for m in CASES.values() if "on_step" in inspect.signature(m.fit).parameters]


def state_of(model: ErasedPipeline) -> dict[str, torch.Tensor]:
    """Every tensor of the pipeline and of the guards in force, and the pristine copy."""
    parts = ("unet", "text_encoder", "vae")
    live = {
        f"{part}.{name}": tensor.clone()
        for part in parts
        for name, tensor in getattr(model.pipeline, part).state_dict().items()
    }
    for i, (guard, strength) in enumerate(model.backend.guards):
        live |= {f"guard.{i}.{name}": tensor for name, tensor in guard.tensors().items()}
        live[f"guard.{i}.strength"] = torch.tensor(strength)
    return live | {f"pristine.{s}": w.clone() for s, w in model.sites().items()}


def unchanged(model: ErasedPipeline, before: dict[str, torch.Tensor]) -> bool:
    after = state_of(model)
    return after.keys() == before.keys() and all(torch.equal(after[k], before[k]) for k in before)


class Breaking:
    """A model whose n-th operation is interrupted, before or after the work."""

    def __init__(self, model: ErasedPipeline, at: int) -> None:
        self._model, self._at, self.calls = model, at, 0

    def __getattr__(self, name: str):
        value = getattr(self._model, name)
        if not callable(value):
            return value

        def call(*args, **kwargs):
            self.calls += 1
            result = value(*args, **kwargs)
            if self.calls == self._at:
                raise KeyboardInterrupt
            return result

        return call


def test_every_method_has_a_case() -> None:
    assert set(CASES) == set(METHODS)
    assert all(type(case) is METHODS[name] for name, case in CASES.items())


@every_method
def test_says_what_it_is(method: Method) -> None:
    assert METHODS[method.name] is type(method)
    assert method.paper.startswith("https://")
    assert method.kind in ("trained", "closed-form", "guard")
    assert method.restorable
    assert method.cost
    assert isinstance(method.separable, bool)


@every_method
def test_same_seed_same_shift(method: Method, tiny_model: ErasedPipeline) -> None:
    one, two = (method.fit(tiny_model, TARGET, retain=[OTHER], seed=5) for _ in range(2))
    assert one == two
    if method.kind == "trained":
        other = method.fit(tiny_model, TARGET, retain=[OTHER], seed=6)
        pairs = zip(one.payload.tensors().values(), other.payload.tensors().values(), strict=True)
        assert not all(torch.equal(a, b) for a, b in pairs)


@every_method
def test_leaves_model_and_randomness_alone(method: Method, tiny_model: ErasedPipeline) -> None:
    tiny_model.erase(null_space_shift(tiny_model, OTHER))
    before, random_state = state_of(tiny_model), torch.get_rng_state()
    shift = method.fit(tiny_model, TARGET)
    assert unchanged(tiny_model, before)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.is_grad_enabled()
    assert tiny_model.erased == (OTHER.name,)
    tiny_model.erase(shift)  # inverse check: the comparison sees an erased concept
    assert not unchanged(tiny_model, before)


@every_method
@pytest.mark.parametrize("at", [1, 3, 6, 9])
def test_an_interrupt_leaves_the_model_alone(
    method: Method, at: int, tiny_model: ErasedPipeline
) -> None:
    tiny_model.erase(null_space_shift(tiny_model, OTHER))
    before, breaking = state_of(tiny_model), Breaking(tiny_model, at)
    try:
        method.fit(breaking, TARGET)
    except KeyboardInterrupt:
        assert breaking.calls == at
    else:
        assert breaking.calls < at  # it was done before
    assert unchanged(tiny_model, before)
    assert method.fit(tiny_model, TARGET) is not None


@pytest.mark.parametrize("method", trained, ids=lambda method: method.name)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_in_a_step_leaves_the_model_alone(
    method: Method, error: type[BaseException], tiny_model: ErasedPipeline
) -> None:
    tiny_model.erase(null_space_shift(tiny_model, OTHER))
    before, numbers = state_of(tiny_model), []

    def on_step(step) -> None:
        numbers.append(step.number)
        if step.number == 3:
            raise error

    with pytest.raises(error):
        method.fit(tiny_model, TARGET, on_step=on_step)
    assert numbers == [1, 2, 3]
    assert unchanged(tiny_model, before)


def states(folder) -> dict[str, dict[str, torch.Tensor]]:
    """What is kept of a fit: file name to tensors."""
    return {path.name: load_file(path) for path in sorted(folder.iterdir())}


def cut_off(method: Method, model: ErasedPipeline, folder) -> int:
    """Interrupt a fit late, its state being kept; returns the operations of a whole fit."""
    counting = Breaking(model, -1)
    method.fit(counting, TARGET, retain=[OTHER], seed=5)
    late = counting.calls * 4 // 5
    with pytest.raises(KeyboardInterrupt), resumable(folder, seconds=0):
        method.fit(Breaking(model, late), TARGET, retain=[OTHER], seed=5)
    return counting.calls


@every_stepwise
def test_goes_on_where_it_was_cut_off(method: Method, tiny_model: ErasedPipeline, tmp_path) -> None:
    whole = method.fit(tiny_model, TARGET, retain=[OTHER], seed=5)
    total = cut_off(method, tiny_model, tmp_path / "kept")
    rest = Breaking(tiny_model, -1)
    with resumable(tmp_path / "kept", seconds=0):
        assert method.fit(rest, TARGET, retain=[OTHER], seed=5) == whole
    assert rest.calls < total
    assert not (tmp_path / "kept").exists()


@every_stepwise
def test_what_is_kept_is_what_a_fit_goes_on_from(
    method: Method, tiny_model: ErasedPipeline, tmp_path
) -> None:
    whole = method.fit(tiny_model, TARGET, retain=[OTHER], seed=5)
    cut_off(method, tiny_model, tmp_path)
    for name, kept in states(tmp_path).items():
        meta = safe_open(tmp_path / name, "pt").metadata()
        moved = {key: t + ("learned/" in key) for key, t in kept.items()}
        save_file(moved, tmp_path / name, meta)
    with resumable(tmp_path):
        assert method.fit(tiny_model, TARGET, retain=[OTHER], seed=5) != whole


@every_stepwise
def test_another_fit_does_not_go_on_from_it(
    method: Method, tiny_model: ErasedPipeline, tmp_path
) -> None:
    cut_off(method, tiny_model, tmp_path)
    with pytest.raises(MethodError, match="is of another fit"), resumable(tmp_path):
        method.fit(tiny_model, TARGET, retain=[OTHER], seed=6)
    assert states(tmp_path)  # nothing was lost


@every_method
def test_round_trips_to_disk(method: Method, tiny_model: ErasedPipeline, tmp_path) -> None:
    shift = method.fit(tiny_model, TARGET, retain=[OTHER])
    save_shift(shift, tmp_path / "shift.safetensors")
    again = load_shift(tmp_path / "shift.safetensors")
    assert again == shift
    tiny_model.erase(shift)
    erased = state_of(tiny_model)
    tiny_model.restore(TARGET.name)
    assert not unchanged(tiny_model, erased)
    tiny_model.erase(again)
    assert unchanged(tiny_model, erased)


@every_method
def test_fills_in_the_provenance(method: Method, tiny_model: ErasedPipeline) -> None:
    origin = method.fit(tiny_model, TARGET, seed=11).provenance
    assert origin.base == tiny_model.fingerprint
    assert (origin.method, origin.seed) == (method.name, 11)
    assert origin.config
    assert None not in origin.config.values()
    assert set(origin.versions) >= {"sepme", "torch"}
    assert origin.fit
    again = type(method)(**origin.config).fit(tiny_model, TARGET, seed=11)
    assert again.provenance.to_dict() == origin.to_dict()


@every_method
def test_ignores_what_is_erased_at_the_moment(method: Method, tiny_model: ErasedPipeline) -> None:
    expected = method.fit(tiny_model, TARGET, retain=[OTHER])
    tiny_model.erase(null_space_shift(tiny_model, OTHER, size=3.0))
    assert method.fit(tiny_model, TARGET, retain=[OTHER]) == expected
    assert method.fit(tiny_model, TARGET) == expected  # what the ledger holds is known
    tiny_model.restore(OTHER.name)
    assert method.fit(tiny_model, TARGET) == expected  # and stays known


@every_method
def test_lists_what_it_leaves_alone(method: Method, tiny_model: ErasedPipeline) -> None:
    shift = method.fit(tiny_model, TARGET, retain=[OTHER, THIRD])
    assert shift.concepts == (TARGET,)
    assert shift.separable == method.separable
    if method.separable:
        known = {concept.name for concept in tiny_model.known}
        assert set(shift.decoupled_from) == known | {OTHER.name, THIRD.name}
        assert OTHER.name not in method.fit(tiny_model, TARGET).decoupled_from


@every_method
def test_several_concepts_at_once(method: Method, tiny_model: ErasedPipeline) -> None:
    tiny_model.erase(null_space_shift(tiny_model, THIRD))
    before = state_of(tiny_model)
    shifts = method.fit_many(tiny_model, [OTHER, TARGET], seed=5)
    assert shifts == method.fit_many(tiny_model, [OTHER, TARGET], seed=5)
    assert unchanged(tiny_model, before)
    assert {c.name for shift in shifts for c in shift.concepts} == {OTHER.name, TARGET.name}
    assert type(method).fit_many is Method.fit_many  # executors ask `fit_here` and `fits_as_one`
    assert method.fits_as_one() or len(shifts) == 2
    assert not method.fit_many(tiny_model, [])
    if method.separable:
        assert [shift.name for shift in shifts] == [OTHER.name, TARGET.name]
        assert TARGET.name in shifts[0].decoupled_from
        assert OTHER.name in shifts[1].decoupled_from
    for shift in shifts:
        origin = shift.provenance
        assert (origin.base, origin.method, origin.seed) == (tiny_model.fingerprint, method.name, 5)


@every_method
def test_bad_input_raises_ours(method: Method, tiny_model: ErasedPipeline) -> None:
    alias = Concept("alias", TARGET.prompts)
    with pytest.raises(MethodError, match=TARGET.name):
        method.fit(tiny_model, TARGET, retain=[alias])
    with pytest.raises(MethodError, match="twice"):
        method.fit_many(tiny_model, [TARGET, OTHER, TARGET])
    with pytest.raises(SepmeError):
        method.fit(tiny_model, BLANK)
    with pytest.raises(SpecError, match="hyper-parameter 'no-such'"):
        method.resolve({"no-such": 1})
    key = next(iter(type(method)._fields()))
    with pytest.raises(SpecError, match=key):
        replace(method, **{key: object()})


@every_method
def test_nothing_is_claimed_in_a_full_text_space(
    method: Method, tiny_model: ErasedPipeline
) -> None:
    if not method.separable:
        pytest.skip("claims no null space")
    words = ("bat", "cup", "dig", "elk", "fur", "gum", "hip", "ivy", "kin", "lap", "mud", "nut")
    crowd = [Concept(word, (f"{word} {word[::-1]}",)) for word in words]
    before = state_of(tiny_model)
    assert method.fit(tiny_model, TARGET).decoupled_from
    try:
        shift = method.fit(tiny_model, TARGET, retain=crowd)
    except (NullSpaceExhausted, NotSeparable):
        pass
    else:
        assert not shift.decoupled_from
    assert unchanged(tiny_model, before)
