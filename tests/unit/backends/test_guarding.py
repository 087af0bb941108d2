"""Guards act on the live pipeline, and leave no trace when they are taken off."""

import copy
from dataclasses import replace

import pytest
import torch

from sepme.backends.guarding import guards_fingerprint
from sepme.backends.subject import DiffusionSubject
from sepme.core.compose import guards_of
from sepme.core.guard import Guard
from sepme.core.value_guard import ValueGuard
from sepme.errors import BaseMismatch, LedgerError, MethodError
from sepme.io.checkpoint import save_checkpoint
from sepme.io.lora import lora_state_dict
from sepme.pipeline import ErasedPipeline
from sepme.verify.exact import erased_again, state_checks
from tests.tiny import TINY_CONCEPTS, null_space_shift, pixels

OWL, FIG = TINY_CONCEPTS[:2]
HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


class Doubling(Guard):
    """Doubles the rows of one prompt, and scales what one module puts out."""

    kind = "doubling"

    def __init__(self, model, module: str = "mid_block.attentions.0.proj_out") -> None:
        self.rows, self.module = model.encode((OWL.prompts[0],))[0], module
        self.factor = torch.ones((), requires_grad=True)

    @property
    def modules(self):
        return (self.module,)

    def fires(self, embeds):
        return (embeds == self.rows).all(dim=2, keepdim=True).all(dim=1, keepdim=True)

    def text(self, embeds, strength):
        return torch.where(self.fires(embeds), (1 + strength) * embeds, embeds)

    def output(self, module, given, output, embeds, strength):
        fires = self.fires(embeds)[..., None]
        return torch.where(fires, output * (1 + strength * self.factor), output)

    def tensors(self):
        return {"rows": self.rows}

    @classmethod
    def from_tensors(cls, tensors):
        raise NotImplementedError


def guard_shift(model: ErasedPipeline, concept=OWL):
    """A shift with a guard in place of a change of weights."""
    rows = model.encode(concept.prompts)[0, 1:4]
    values = {s: rows @ w.T for s, w in model.sites(r".*\.attn2\.to_v").items()}
    guard = ValueGuard(torch.tensor([[10.0, 0.5, 2.0]]), values)
    shift = null_space_shift(model, concept)
    return replace(shift, payload=guard, separable=False, decoupled_from=())


def hooks(model: ErasedPipeline) -> int:
    unet = model.pipeline.unet
    return sum(len(getattr(m, name)) for m in unet.modules() for name in HOOKS)


def draw(model: ErasedPipeline, *prompts: str) -> torch.Tensor:
    return pixels(model.generate(prompts, seeds=range(len(prompts)), steps=3))


def test_acts_on_the_prompts_it_fires_for(tiny_model: ErasedPipeline) -> None:
    before = draw(tiny_model, "owl", "fig")
    tiny_model.backend.guard([(Doubling(tiny_model), 1.0)])
    after = draw(tiny_model, "owl", "fig")
    assert not torch.equal(after[0], before[0])
    assert torch.equal(after[1], before[1])
    tiny_model.backend.guard([(Doubling(tiny_model), 0.0)])
    assert torch.equal(draw(tiny_model, "owl", "fig"), before)


def test_is_gone_without_a_trace(tiny_model: ErasedPipeline) -> None:
    before, none = draw(tiny_model, "owl"), hooks(tiny_model)
    assert none == 0
    shift = guard_shift(tiny_model)
    tiny_model.erase(shift)
    assert hooks(tiny_model) > 0  # inverse check: it was there
    assert not torch.equal(draw(tiny_model, "owl"), before)
    with tiny_model.restored("a"):
        assert hooks(tiny_model) == 0
        assert torch.equal(draw(tiny_model, "owl"), before)
    with tiny_model.backend.pristine():
        assert torch.equal(draw(tiny_model, "owl"), before)
    assert tiny_model.backend.guards == ((shift.payload, 1.0),)
    tiny_model.restore("a")
    assert hooks(tiny_model) == 0
    assert torch.equal(draw(tiny_model, "owl"), before)


def test_strength_counts(tiny_model: ErasedPipeline) -> None:
    shift, images, prints = guard_shift(tiny_model), [], []
    for strength in (0.5, 1.0):
        tiny_model.erase(shift, strength=strength)
        images.append(draw(tiny_model, "owl"))
        prints.append(tiny_model.backend.live_fingerprint())
    assert not torch.equal(*images)
    assert len({*prints}) == 2


def test_an_interrupt_takes_weights_and_guards_back(tiny_model: ErasedPipeline) -> None:
    tiny_model.erase(guard_shift(tiny_model))
    before, guards = tiny_model.backend.live_fingerprint(), tiny_model.backend.guards

    def interrupted() -> None:
        with tiny_model.backend.all_or_nothing():
            tiny_model.backend.guard(())
            assert tiny_model.backend.live_fingerprint() != before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert tiny_model.backend.live_fingerprint() == before
    assert tiny_model.backend.guards == guards


def test_a_stranger_changes_nothing(tiny_model: ErasedPipeline) -> None:
    tiny_model.erase(guard_shift(tiny_model))
    before, count = tiny_model.backend.guards, hooks(tiny_model)
    with pytest.raises(BaseMismatch, match="to_w"):
        tiny_model.backend.guard([(Doubling(tiny_model, "to_w"), 1.0)])
    assert tiny_model.backend.guards == before
    assert hooks(tiny_model) == count


def test_predicts_under_the_given_guards_alone(tiny_model: ErasedPipeline) -> None:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    given = (latents, torch.tensor([500]), tiny_model.encode(["owl"]))
    plain, guard = tiny_model.predict_noise(*given), Doubling(tiny_model)
    tiny_model.erase(guard_shift(tiny_model))
    count = hooks(tiny_model)
    assert torch.equal(tiny_model.predict_noise(*given), plain)
    guarded = tiny_model.predict_noise(*given, guards=[(guard, 1.0)])
    assert not torch.allclose(guarded, plain)
    guarded.sum().backward()
    assert guard.factor.grad is not None
    assert guard.factor.grad != 0
    assert hooks(tiny_model) == count


def test_acts_in_name_order(tiny_model: ErasedPipeline) -> None:
    one, two = guard_shift(tiny_model, FIG), guard_shift(tiny_model, OWL)
    tiny_model.erase(one, two, allow_interference=True)
    forwards = tiny_model.backend.guards
    tiny_model.restore("a", "b")
    tiny_model.erase(two, one, allow_interference=True)
    assert tiny_model.backend.guards == forwards
    assert forwards == guards_of([(one, 1.0), (two, 1.0)])
    assert guards_fingerprint(forwards) != guards_fingerprint(forwards[::-1])


def test_survives_a_ledger_directory(tiny_model: ErasedPipeline, tmp_path) -> None:
    before = draw(tiny_model, "owl")
    tiny_model.erase(guard_shift(tiny_model), null_space_shift(tiny_model, FIG), strength=0.5)
    erased, state = draw(tiny_model, "owl"), tiny_model.backend.live_fingerprint()
    tiny_model.save(tmp_path / "ledger")
    tiny_model.restore("a", "b")
    other = ErasedPipeline(tiny_model.backend)
    other.open(tmp_path / "ledger")
    assert other.backend.live_fingerprint() == state
    assert torch.equal(draw(other, "owl"), erased)
    other.restore("a", "b")
    assert torch.equal(draw(other, "owl"), before)


def test_a_copy_keeps_what_it_had(tiny_model: ErasedPipeline) -> None:
    tiny_model.erase(guard_shift(tiny_model))
    subject = DiffusionSubject.snapshot(tiny_model.pipeline, guidance_scale=4.0)
    given = (torch.ones(1, 4, 8, 8), torch.tensor([500]), tiny_model.encode(["owl"]))
    said = tiny_model.pipeline.unet(*given, return_dict=False)[0]
    tiny_model.restore("a")
    assert torch.equal(subject.predict_noise(*given), said)
    again = subject.with_unet(copy.deepcopy(subject.unet))
    assert torch.equal(again.predict_noise(*given), said)
    plain = tiny_model.pipeline.unet(*given, return_dict=False)[0]
    assert not torch.equal(said, plain)


def test_verification_looks_at_guards(tiny_model: ErasedPipeline) -> None:
    tiny_model.erase(guard_shift(tiny_model), null_space_shift(tiny_model, FIG))
    assert all(check.passed for check in state_checks(tiny_model))
    state = tiny_model.backend.live_fingerprint()
    tiny_model.restore("a")
    with erased_again(tiny_model, "a"):
        assert tiny_model.backend.live_fingerprint() == state
    assert not tiny_model.backend.guards
    tiny_model.erase(tiny_model.shift("a"))
    tiny_model.backend.guard(())  # inverse check: switched off behind the ledger's back
    assert [check.passed for check in state_checks(tiny_model)] == [False, True]


def test_is_no_file_of_weights(tiny_model: ErasedPipeline, tmp_path) -> None:
    shift = guard_shift(tiny_model)
    with pytest.raises(MethodError, match="guard"):
        lora_state_dict([(shift, 1.0)], names="peft")
    with pytest.raises(MethodError, match="guard"):
        save_checkpoint(tmp_path / "out", tiny_model.pipeline, [(shift, 1.0)], model="tiny")
    assert not (tmp_path / "out").exists()
    with pytest.raises(MethodError, match="no weight"):
        shift.payload.delta("to_v", torch.ones(1, 1))
    with pytest.raises(LedgerError):
        tiny_model.erase(shift, strength=0.0)
