from dataclasses import replace

import pytest
import torch

from sepme.core.concept import Concept
from sepme.errors import Diverged, NotSeparable, SpecError
from sepme.methods._pools import noised_images
from sepme.methods._spans import phrase_rows
from sepme.methods.fmn import ForgetMeNot, attention_norm
from tests.tiny import TINY_CONCEPTS

TARGET = Concept("a", ("owl",))
OTHER = TINY_CONCEPTS[2]
SMALL = {"images": 4, "pool": 8, "batch_size": 2, "max_steps": 35, "learning_rate": 1e-2}


def attention(model, shift, rows: slice) -> float:
    """Mean attention of some tokens of "owl", over layers, heads and pixels."""
    drawn = noised_images(model, TARGET.prompts, images=2, size=4, bins=10, seed=9)
    changes = shift and {site: shift.payload.changes[site] for site in shift.payload.sites}
    embeds = model.encode(TARGET.prompts).expand(4, -1, -1)
    with torch.no_grad():
        maps = model.attend(drawn.latents, drawn.timesteps, embeds, deltas=changes)
    return float(torch.stack([m[..., rows].sum(-1).mean() for m in maps.values()]).mean())


def test_the_papers_values() -> None:
    paper = ForgetMeNot().resolve()
    assert (paper.columns, paper.max_steps, paper.learning_rate) == ("phrase", 35, 2e-6)
    with pytest.raises(SpecError, match=r"^columns must be"):
        ForgetMeNot(columns="eos")


def test_the_norm_is_that_of_the_chosen_columns() -> None:
    maps = {"one": torch.rand(2, 3, 4, 5), "two": torch.rand(2, 3, 16, 5)}
    columns = torch.zeros(2, 5)
    columns[0, 1] = columns[1, 2] = columns[1, 3] = 1
    first, second = attention_norm(maps, columns)
    flat = torch.cat([m[0, ..., 1].flatten() for m in maps.values()])
    assert torch.allclose(first, flat.norm())
    flat = torch.cat([m[1, ..., 2:4].flatten() for m in maps.values()])
    assert torch.allclose(second, flat.norm())


def test_a_phrase_outside_the_window_gives_no_gradient() -> None:
    looked = torch.rand(1, 2, 4, 5, requires_grad=True)
    attention_norm({"one": looked}, torch.zeros(1, 5)).sum().backward()
    assert not looked.grad.any()


@pytest.mark.parametrize("columns", ["phrase", "to-end"])
def test_the_concepts_words_are_no_longer_looked_at(tiny_model, columns) -> None:
    rows = phrase_rows(tiny_model, "", "owl")
    watched = rows if columns == "phrase" else slice(rows.start, None)
    rest = slice(0, rows.start)
    shift = ForgetMeNot(**SMALL, columns=columns).fit(tiny_model, TARGET)
    before, after = (attention(tiny_model, s, watched) for s in (None, shift))
    assert after < 0.7 * before
    assert attention(tiny_model, shift, rest) > attention(tiny_model, None, rest)
    idle = ForgetMeNot(**SMALL | {"learning_rate": 1e-9}, columns=columns)  # inverse: not trained
    assert attention(tiny_model, idle.fit(tiny_model, TARGET), watched) > 0.99 * before


def test_the_rows_after_the_words_are_an_option(tiny_model) -> None:
    after = slice(phrase_rows(tiny_model, "", "owl").stop, None)
    narrow, wide = (
        attention(tiny_model, ForgetMeNot(**SMALL, columns=c).fit(tiny_model, TARGET), after)
        for c in ("phrase", "to-end")
    )
    assert wide < narrow


def test_several_share_one_shift(tiny_model) -> None:
    (shift,) = ForgetMeNot(**SMALL | {"max_steps": 6}).fit_many(tiny_model, [OTHER, TARGET])
    assert shift.concepts == (TARGET, OTHER)
    assert shift.decoupled_from == ()
    assert shift.provenance.fit.keys() == {"steps", "momentum"}
    tiny_model.erase(shift)
    with pytest.raises(NotSeparable, match="erased jointly"):
        tiny_model.restore("a")


def test_divergence_says_what_to_try(tiny_model) -> None:
    method = replace(ForgetMeNot(**SMALL), learning_rate=1e38)
    with pytest.raises(Diverged, match="Try a tenth"):
        method.fit(tiny_model, TARGET)
