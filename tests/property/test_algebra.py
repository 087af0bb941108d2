"""Claims about null spaces, composition and ledgers, each with its inverse sanity check."""

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sepme.core.compose import compose
from sepme.core.ledger import Ledger
from sepme.core.payload import SiteShift
from sepme.errors import NotErased
from sepme.linalg.null_space import null_space, private_directions
from tests.shifts import BASE, make_base, make_shift

D_TEXT, TOKENS = 64, 6
NAMES = ("a", "b", "c", "d")


def embeddings(n: int, seed: int = 0) -> Tensor:
    """``(n, TOKENS, D_TEXT)`` whose first row is shared by all, as a text encoder's is."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, TOKENS, D_TEXT, generator=draw)
    rows[:, 0] = rows[0, 0].clone()
    return rows


def separable_shifts(rows: Tensor) -> list[SiteShift]:
    shifts = []
    for k in range(len(rows)):
        others = torch.cat([rows[:k], rows[k + 1 :]])
        directions = private_directions(rows[k], null_space(others)).float()
        shifts.append(SiteShift(directions, {"to_k": torch.randn(9, len(directions))}))
    return shifts


def relative_effect(delta: Tensor, rows: Tensor) -> float:
    rows = rows.double()
    return float((rows @ delta.T).norm() / (rows.norm() * delta.norm()))


@pytest.mark.parametrize("n", [2, 5, 9])
def test_shifts_leave_the_other_concepts_alone(n: int) -> None:
    rows = embeddings(n)
    for k, shift in enumerate(separable_shifts(rows)):
        delta = shift.delta("to_k", torch.zeros(9, D_TEXT))
        effects = [relative_effect(delta, rows[j]) for j in range(n)]
        assert max(effects[:k] + effects[k + 1 :]) < 1e-6
        assert effects[k] > 1e-2
        assert relative_effect(delta, embeddings(1, seed=1)) > 1e-2  # unlisted prompts do move


def test_rank_is_at_most_the_tokens_that_are_not_shared() -> None:
    for shift in separable_shifts(embeddings(4)):
        delta = shift.delta("to_k", torch.zeros(9, D_TEXT))
        assert torch.linalg.matrix_rank(delta) == TOKENS - 1
    alone = private_directions(embeddings(1)[0], null_space(torch.zeros(1, D_TEXT)))
    assert len(alone) == TOKENS  # inverse check: with nothing shared, one more


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_order_of_erasing_does_not_matter(dtype: torch.dtype) -> None:
    base = make_base(dtype)
    pairs = [(make_shift(name, seed=seed), 0.3 + seed) for seed, name in enumerate(NAMES)]
    expected = compose(base, pairs)
    for order in permutations(pairs):
        out = compose(base, order)
        assert all(torch.equal(out[site], expected[site]) for site in base)


def test_adding_in_the_order_given_would_matter() -> None:
    deltas = [make_shift(name, seed=seed).payload for seed, name in enumerate(NAMES)]
    base = make_base()
    site = next(iter(base))
    sums = set()
    for order in permutations(deltas):
        weight = base[site].clone()
        for payload in order:
            weight += payload.delta(site, weight).float()
        sums.add(weight.numpy().tobytes())
    assert len(sums) > 1


def test_restoring_everything_is_exact_and_subtracting_is_not() -> None:
    base, shift = make_base(), make_shift("a")
    erased = compose(base, [(shift, 1.0)])
    restored = compose(base, [])
    assert all(torch.equal(restored[site], base[site]) for site in base)
    back = {site: erased[site] - shift.payload.delta(site, base[site]).float() for site in base}
    assert any(not torch.equal(back[site], base[site]) for site in base)


def test_restoring_one_is_never_having_erased_it() -> None:
    shifts = {name: make_shift(name, seed=seed) for seed, name in enumerate(NAMES)}
    base, ledger = make_base(), Ledger(BASE)
    for name in NAMES:
        ledger = ledger.erase(shifts[name])
    live = [(shifts[e.name], e.strength) for e in ledger.restore("b").active]
    expected = compose(base, [(shifts[name], 1.0) for name in NAMES if name != "b"])
    out = compose(base, live)
    assert all(torch.equal(out[site], expected[site]) for site in base)
    everything = compose(base, [(shift, 1.0) for shift in shifts.values()])
    assert any(not torch.equal(out[site], everything[site]) for site in base)


SHIFTS = {(name, seed): make_shift(name, seed=seed) for name in NAMES for seed in range(2)}
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.none() | st.sampled_from(range(2))), max_size=12
)


def run(operations: list[tuple[str, int | None]]) -> tuple[Ledger, dict[str, int]]:
    """A ledger after some operations, and what a dictionary says it should hold."""
    ledger, model = Ledger(BASE), {}
    for name, seed in operations:
        if seed is not None:
            ledger, model[name] = ledger.erase(SHIFTS[name, seed]), seed
        elif name in model:
            ledger = ledger.restore(name)
            del model[name]
        else:
            with pytest.raises(NotErased):
                ledger.restore(name)
    return ledger, model


@settings(max_examples=60, deadline=None)
@given(OPERATIONS)
def test_ledger_holds_what_was_erased_last(operations: list[tuple[str, int | None]]) -> None:
    ledger, model = run(operations)
    held = {entry.name: entry.shift for entry in ledger.active}
    assert held == {name: SHIFTS[name, seed].digest for name, seed in model.items()}
    assert {concept.name for concept in ledger.known} == {
        name for name, seed in operations if seed is not None
    }
    assert Ledger.from_dict(ledger.to_dict()).digest == ledger.digest


@settings(max_examples=30, deadline=None)
@given(st.permutations(NAMES))
def test_digest_depends_on_what_is_erased_only(names: list[str]) -> None:
    ledger, _ = run([(name, 0) for name in names])
    expected, _ = run([(name, 0) for name in NAMES])
    other, _ = run([(name, int(name == "a")) for name in names])
    assert ledger.digest == expected.digest
    assert ledger.digest != other.digest
