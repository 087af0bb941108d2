"""What every registered method must do on other families: velocity models (SD 2.x) and SDXL."""

import pytest
import torch

from sepme.core.method import Method
from sepme.errors import BaseMismatch
from sepme.pipeline import ErasedPipeline
from tests.conformance.cases import CASES
from tests.tiny import TINY_CONCEPTS, pixels

TARGET, OTHER = TINY_CONCEPTS[:2]
every_method = pytest.mark.parametrize("method", CASES.values(), ids=CASES)


def weights_of(model: ErasedPipeline) -> dict[str, torch.Tensor]:
    return {name: w.clone() for name, w in model.pipeline.unet.state_dict().items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def image(model: ErasedPipeline) -> torch.Tensor:
    return pixels(model.generate(TARGET.prompts, seeds=[3], steps=2))


@every_method
def test_erases_restores_and_remembers(
    method: Method, family: ErasedPipeline, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before, drawn = weights_of(family), image(family)
    original = family.backend.live_fingerprint()
    shift = method.fit(family, TARGET, retain=[OTHER], seed=5)
    assert same(weights_of(family), before), "a fit leaves the model alone"
    assert method.fit(family, TARGET, retain=[OTHER], seed=5) == shift

    family.erase(shift)
    erased, forgetful = weights_of(family), family.backend.live_fingerprint()
    assert forgetful != original
    assert same(erased, before) == (method.kind == "guard")
    ledger = family.save(tmp_path_factory.mktemp("ledger") / "ledger")
    family.restore(TARGET.name)
    assert same(weights_of(family), before)
    assert family.backend.live_fingerprint() == original
    assert torch.equal(image(family), drawn)

    again = ErasedPipeline(family.backend)
    again.open(ledger.path)
    assert again.erased == (TARGET.name,)
    assert again.shift(TARGET.name) == shift
    assert same(weights_of(again), erased)
    assert again.backend.live_fingerprint() == forgetful


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.separable])
def test_leaves_listed_prompts_alone(name: str, family: ErasedPipeline) -> None:
    shift = CASES[name].fit(family, TARGET, retain=[OTHER], seed=5)
    family.erase(shift)
    listed = [prompt for concept in (OTHER, *family.backend.known) for prompt in concept.prompts]
    for prompts, moves in ((listed, False), (TARGET.prompts, True)):
        rows = family.encode(prompts)
        pairs = [
            (rows @ family.backend.live()[site].T, rows @ weight.T)
            for site, weight in family.sites().items()
        ]
        assert all(torch.allclose(one, two, atol=1e-5) for one, two in pairs) != moves


def test_a_shift_of_one_family_is_refused_by_another(
    xl_model: ErasedPipeline, tiny_model: ErasedPipeline
) -> None:
    shift = CASES["uce"].fit(xl_model, TARGET)
    with pytest.raises(BaseMismatch):
        tiny_model.erase(shift)
