"""Fits sent away are those made here, and what is finished is never made again."""

from dataclasses import replace
from pathlib import Path

import pytest

from sepme.bench.elsewhere import Source, torch_threads
from sepme.core.concept import Concept
from sepme.errors import BackendError, BaseMismatch, MethodError, SpecError
from sepme.methods.sepme import SepME
from sepme.methods.uce import UCE
from sepme.pipeline import ErasedPipeline
from tests.tiny import TINY_CONCEPTS, null_space_shift
from tests.unit.executors.here import Here

METHOD = SepME(images=2, pool=4, max_steps=12, scale=0.02, threshold=-1.0)
A, B, C, HELD, LEFT = TINY_CONCEPTS


@pytest.mark.parametrize("shares_disk", [False, True])
def test_the_same_shifts_as_here(tmp_path: Path, tiny_model, shares_disk: bool) -> None:
    tiny_model.erase(null_space_shift(tiny_model, HELD))
    tiny_model.restore(HELD.name)  # known all the same
    executor = Here(cache=tmp_path, shares_disk=shares_disk)
    ours = METHOD.fit_many(tiny_model, [B, A], retain=[LEFT], seed=3, executor=executor)
    with torch_threads(1):
        assert ours == METHOD.fit_many(tiny_model, [B, A], retain=[LEFT], seed=3)
        assert ours != METHOD.fit_many(tiny_model, [B, A], retain=[LEFT], seed=4)
        assert ours != METHOD.fit_many(tiny_model, [B, A], seed=3)
    assert executor.done == [0, 1]
    assert {HELD.name, LEFT.name, A.name} <= set(ours[0].decoupled_from)


def test_an_interrupt_repeats_nothing(tmp_path: Path, tiny_model) -> None:
    first = Here(cache=tmp_path, stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        METHOD.fit_many(tiny_model, [A, B, C], executor=first)
    second, third = Here(cache=tmp_path), Here(cache=tmp_path)
    shifts = METHOD.fit_many(tiny_model, [A, B, C], executor=second)
    assert METHOD.fit_many(tiny_model, [A, B, C], executor=third) == shifts
    assert [len(who.done) for who in (first, second, third)] == [2, 1, 0]
    other = Here(cache=tmp_path)
    METHOD.fit_many(tiny_model, [A, B, C], seed=1, executor=other)
    assert len(other.done) == 3  # inverse check: another fit is not taken for it


def test_what_is_fitted_as_one_is_one_task(tmp_path: Path, tiny_model) -> None:
    executor = Here(cache=tmp_path)
    assert UCE.fits_as_one()
    assert not SepME.fits_as_one()
    (shift,) = UCE().fit_many(tiny_model, [A, B], executor=executor)
    with torch_threads(1):
        assert (shift,) == UCE().fit_many(tiny_model, [A, B])
    assert executor.done == [0]
    assert UCE().fit_many(tiny_model, [], executor=executor) == ()


def test_what_cannot_be_sent(tmp_path: Path, tiny_model) -> None:
    executor = Here(cache=tmp_path)
    for live in (ErasedPipeline(tiny_model.backend), tiny_model.backend):
        with pytest.raises(BackendError, match="live pipeline cannot be sent") as caught:
            METHOD.fit_many(live, [A], executor=executor)
        assert "\n" not in str(caught.value)
    with pytest.raises(MethodError, match="twice"):
        METHOD.fit_many(tiny_model, [A, A], executor=executor)
    with pytest.raises(MethodError, match="left alone"):
        METHOD.fit_many(tiny_model, [A], retain=[Concept("alias", A.prompts)], executor=executor)
    assert executor.done == []
    with pytest.raises(SpecError, match="threads"):
        Here(threads=0)


def test_another_version_on_the_worker(tiny_model) -> None:
    source = Source.of(tiny_model)
    assert source.load().fingerprint == tiny_model.fingerprint
    other = replace(source, versions=dict(source.versions) | {"torch": "1.0"})
    with pytest.raises(BackendError, match=r"a worker has .*, the caller has .* torch 1\.0"):
        other.load()


def test_other_weights_under_the_same_name(tmp_path: Path, tiny_model) -> None:
    model = ErasedPipeline(tiny_model.backend, source="demo")
    with pytest.raises(BaseMismatch, match="a worker read 'demo'"):
        METHOD.fit_many(model, [A], executor=Here(cache=tmp_path))
