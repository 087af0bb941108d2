"""`generate(erased=...)` and the policy context of the pipeline."""

import pytest
import torch

import sepme
from sepme.backends.stable_diffusion import IMAGES_AT_ONCE
from sepme.errors import LedgerError, NotErased, SpecError
from sepme.pipeline import ErasedPipeline
from tests.policies import FIG, OWL, held, shift_of
from tests.tiny import pixels

DRAW = {"steps": 2}


@pytest.fixture
def holding(tiny_model: ErasedPipeline) -> ErasedPipeline:
    """The tiny pipeline, whose ledger knows two concepts and has none in force."""
    held(tiny_model, shift_of("site", tiny_model, OWL), shift_of("text", tiny_model, FIG))
    return tiny_model


def images(model: ErasedPipeline, *prompts: str, **more: object) -> torch.Tensor:
    return pixels(model.generate(prompts, seeds=range(len(prompts)), **DRAW, **more))


@pytest.mark.parametrize("guidance_scale", [None, 1.0])
@pytest.mark.parametrize("in_force", [(), ("a",), ("a", "b")])
def test_each_prompt_has_its_own_set(holding: ErasedPipeline, in_force, guidance_scale) -> None:
    prompts, sets = ("owl", "owl", "fig", "owl"), [{"a"}, set(), {"b"}, {"a", "b"}]
    more = {"guidance_scale": guidance_scale}
    pristine = images(holding, *prompts, **more)
    shifts = {name: holding.shift(name) for name in ("a", "b")}
    expected = []
    for i, names in enumerate(sets):
        holding.erase(*(shifts[name] for name in sorted(names)), strength=0.5)
        expected.append(images(holding, *prompts, **more)[i])
        holding.restore(*holding.erased)
    holding.erase(*(shifts[name] for name in in_force), strength=0.5)
    found = images(holding, *prompts, erased=sets, **more)
    assert (found - torch.stack(expected)).abs().max() <= 1
    assert torch.equal(found[1], pristine[1])
    assert holding.erased == in_force
    assert all((found[i] - pristine[i]).abs().max() > 1 for i in (0, 2, 3))  # inverse check


def test_none_is_what_the_ledger_has_in_force(holding: ErasedPipeline) -> None:
    holding.erase(holding.shift("a"))
    assert torch.equal(images(holding, "owl", erased=None), images(holding, "owl"))
    assert not torch.equal(images(holding, "owl", erased=[()]), images(holding, "owl"))


def test_more_prompts_than_are_drawn_at_once(holding: ErasedPipeline) -> None:
    count = IMAGES_AT_ONCE + 2
    sets = [{"a"} if i % 3 else set() for i in range(count)]
    prompts = ["owl"] * count
    found, pristine = images(holding, *prompts, erased=sets), images(holding, *prompts)
    same = [torch.equal(one, other) for one, other in zip(found, pristine, strict=True)]
    assert same == [not names for names in sets]


@pytest.mark.parametrize("erased", [[{"a"}], {"a", "b"}, "ab", []])
def test_one_set_for_each_prompt(holding: ErasedPipeline, erased) -> None:
    with pytest.raises(SpecError, match=r"2 prompts need 2 seeds and a list of 2 sets") as caught:
        images(holding, "owl", "fig", erased=erased)
    assert "\n" not in str(caught.value)


def test_a_name_the_ledger_never_held(holding: ErasedPipeline) -> None:
    with pytest.raises(NotErased, match="'c' was never erased here"):
        images(holding, "owl", erased=[{"c"}])


def test_names_are_checked_before_anything_is_drawn(holding: ErasedPipeline, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(holding.backend, "generate", lambda *_, **__: drawn.append(1) or [])
    prompts = ["owl"] * (IMAGES_AT_ONCE + 1)
    with pytest.raises(NotErased):
        images(holding, *prompts, erased=[set()] * IMAGES_AT_ONCE + [{"c"}])
    assert not drawn
    holding.generate(prompts, seeds=range(len(prompts)), erased=[set()] * len(prompts))
    assert len(drawn) == 2  # inverse check: both chunks would have been


def test_inside_an_unmodified_pipeline(holding: ErasedPipeline) -> None:
    def drawn(n: int = 1) -> torch.Tensor:
        made = holding.pipeline(
            ["owl", "fig"],
            generator=[torch.Generator().manual_seed(seed) for seed in range(2 * n)],
            num_inference_steps=2,
            num_images_per_prompt=n,
        )
        return pixels(made.images)

    plain, several = drawn(), drawn(2)
    with holding.policies([{"a"}, set()]) as same:
        assert same is holding
        found = drawn()
    assert torch.equal(found[1], plain[1])
    assert not torch.equal(found[0], plain[0])
    with holding.policies([set(), {"b"}], images_per_prompt=2):
        found = drawn(2)
    assert torch.equal(found[:2], several[:2])
    assert not any(torch.equal(found[i], several[i]) for i in (2, 3))
    assert torch.equal(drawn(), plain)


def test_the_ledger_rests_while_a_policy_is_in_force(holding: ErasedPipeline) -> None:
    shift, before = holding.shift("a"), holding.ledger
    with holding.policies([{"a"}]), pytest.raises(LedgerError, match="leave its block"):
        holding.erase(shift)
    assert holding.ledger == before
    holding.erase(shift)
    assert holding.erased == ("a",)


def test_a_change_of_policy_works_nothing_out_anew(
    holding: ErasedPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sepme.core import policy

    work_out, worked = policy.side_path, []
    monkeypatch.setattr(policy, "side_path", lambda *given: worked.append(1) or work_out(*given))
    monkeypatch.setattr(holding.backend, "write", None)  # a weight write would fail
    for sets in ([{"a"}, {"b"}], [{"b"}, {"a"}], [set(), {"a"}]):
        with holding.policies(sets):
            pass
    assert len(worked) == 2


def test_restored_shifts_of_a_saved_ledger(holding: ErasedPipeline, tiny_folder, tmp_path) -> None:
    holding.save(tmp_path / "ledger")
    again = sepme.load(tiny_folder, ledger=tmp_path / "ledger")
    assert again.erased == ()
    sets = [{"a"}, {"b"}]
    assert torch.equal(
        images(again, "owl", "fig", erased=sets), images(holding, "owl", "fig", erased=sets)
    )
