"""The side path of an erased set, as tensors."""

from dataclasses import replace

import pytest
import torch

from sepme.core.compose import compose
from sepme.core.dense_shift import DenseShift
from sepme.core.side_path import SidePath, side_path
from sepme.core.text_shift import TextShift
from sepme.errors import BaseMismatch, LedgerError, MethodError
from tests.shifts import (
    D_TEXT,
    SITES,
    make_base,
    make_dense_shift,
    make_factor_shift,
    make_shift,
    make_sparse_shift,
    make_text_shift,
)

BASE = make_base(torch.float64)
EMBEDS = torch.randn(3, 4, D_TEXT, generator=torch.Generator().manual_seed(5)).double()


def through(path: SidePath, base: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What every site puts out, by the formula of the class."""
    text = path.guarded(EMBEDS.to(next(iter(base.values()))), guided=False)
    found = {}
    for site, weight in base.items():
        found[site] = path.mapped(text) @ path.weights.get(site, weight).T
        if site in path.factors:
            found[site] = found[site] + path.inner(text) @ path.factors[site]
    return found


def error(path: SidePath, active, base=BASE) -> float:
    folded = compose(base, active)
    embeds = EMBEDS.to(next(iter(base.values())))
    return max(
        float((out - embeds @ folded[site].T).abs().max() / out.abs().max())
        for site, out in through(path, base).items()
    )


SOME = TextShift(torch.eye(D_TEXT, 1), torch.ones(1, D_TEXT), tuple(SITES)[:2])
KINDS = {
    "site": [make_shift("a"), make_shift("b", seed=1, sites=tuple(SITES)[1:])],
    "text": [make_text_shift("a"), make_text_shift("b", seed=1)],
    "mixed": [make_shift("a"), make_text_shift("b", seed=1), make_shift("c", seed=2)],
    "part": [
        make_shift("a"),
        replace(make_text_shift("b"), payload=SOME),
    ],
    "composed": [
        make_shift("a"),
        make_text_shift("b"),
        make_dense_shift("c"),
        make_factor_shift("d"),
    ],
    "too wide": [make_shift("a", rank=8), make_shift("b", rank=5), make_text_shift("c")],
    "wide maps": [make_text_shift(f"m-{i}", seed=i, rank=4) for i in range(5)],
    "wide maps beside": [make_shift("a", rank=8), make_text_shift("b", rank=15)],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_composed_weights(kind: str) -> None:
    active = [(shift, 0.5 + 0.5 * i) for i, shift in enumerate(KINDS[kind])]
    path = side_path(BASE, SITES, active)
    assert error(path, active) < 1e-13
    assert error(path, [(shift, 1.0) for shift, _ in active]) > 1e-3  # inverse check: strengths
    assert bool(path.weights) is (kind in ("composed", "too wide"))
    assert not path.factors.keys() & path.weights.keys()


def test_many_maps_are_one_square_matrix_and_touch_no_site() -> None:
    active = [(shift, 1.0) for shift in KINDS["wide maps"]]
    path = side_path(BASE, SITES, active)
    assert path.modules == ()
    assert path.nbytes == 2 * 8 * D_TEXT**2
    few = side_path(BASE, SITES, active[:2])
    assert few.nbytes == 2 * 8 * D_TEXT * 8  # inverse check: 8 of 12 directions stay factors
    assert error(path, active[:-1]) > 1e-3


def test_sparse_values_are_composed() -> None:
    shift = make_sparse_shift("a", seed=99)
    base = make_base()
    active = [(shift, 1.0)]
    assert set(side_path(base, SITES, active).weights) == set(SITES)
    assert error(side_path(base, SITES, active), active, base) < 1e-5


def test_maps_act_on_the_embedding_and_sites_read_it_unmapped() -> None:
    path = side_path(BASE, SITES, [(make_text_shift("a"), 1.0), (make_shift("b"), 1.0)])
    assert path.text_map is not None
    assert path.directions.shape == (D_TEXT, 2)
    assert set(path.factors) == set(path.modules) == set(SITES)
    parts = (*path.text_map, path.directions, *path.factors.values())
    assert path.nbytes == sum(tensor.nbytes for tensor in parts)
    only = side_path(BASE, SITES, [(make_text_shift("a"), 1.0)])
    assert only.modules == ()
    assert only.inner(EMBEDS) is None


def test_the_order_leaves_no_trace() -> None:
    active = [(make_shift("a"), 1.0), (make_shift("b", seed=1), 0.5)]
    one, other = (side_path(make_base(), SITES, pairs) for pairs in (active, active[::-1]))
    assert torch.equal(one.directions, other.directions)
    assert all(torch.equal(one.factors[site], other.factors[site]) for site in SITES)
    changed = side_path(make_base(), SITES, [active[0], (active[1][0], 1.0)])
    assert not all(torch.equal(one.factors[site], changed.factors[site]) for site in SITES)


def lopsided(size: float) -> TextShift:
    """The same map whatever the size, by one large factor and one small."""
    draw = torch.Generator().manual_seed(3)
    left, right = (torch.randn(shape, generator=draw) for shape in ((D_TEXT, 1), (1, D_TEXT)))
    return TextShift(size * left, 0.1 / size * right, tuple(SITES))


@pytest.mark.parametrize("beside", [False, True], ids=["map", "sites"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_factors_no_half_precision_could_hold(dtype: torch.dtype, beside: bool) -> None:
    base, size = make_base(dtype), 1e6
    shift = replace(make_text_shift("a"), payload=lopsided(size))
    if beside:
        part = replace(shift.payload, sites=tuple(SITES)[:2])
        shift = replace(shift, payload=part)
    path = side_path(base, SITES, [(shift, 1.0)])
    kept = (path.directions, *path.factors.values(), *(path.text_map or ()))
    assert {tensor.dtype for tensor in kept if tensor is not None} == {torch.float32}
    assert path.mapped(EMBEDS.to(dtype)).dtype == dtype
    assert error(path, [(shift, 1.0)], base) < 4 * torch.finfo(dtype).eps
    assert torch.tensor(size).to(torch.float16).isinf()  # inverse check: half could not


NARROW = TextShift(torch.ones(3, 1), torch.ones(1, 3), tuple(SITES)[:2])
KERNEL = DenseShift({"conv": torch.ones(2, 3, 1, 1)})


@pytest.mark.parametrize(
    ("shift", "strength", "error", "says"),
    [
        (make_shift("a"), float("nan"), LedgerError, "finite"),
        (make_shift("a"), 1.0, BaseMismatch, "does not have"),
        (replace(make_text_shift("a"), payload=NARROW), 1.0, BaseMismatch, r"\(5, 3\) matrix"),
        (replace(make_shift("a"), payload=KERNEL), 1.0, MethodError, "'a' .* convolution 'conv'"),
    ],
)
def test_refuses_what_does_not_fit(shift, strength, error, says) -> None:
    base = {**make_base(), "conv": torch.ones(2, 3, 1, 1)}
    del base["up.1.attn2.to_k"]
    with pytest.raises(error, match=says):
        side_path(base, [site for site in base if site != "conv"], [(shift, strength)])
