"""Small random shifts, for any test that needs some."""

from dataclasses import replace

import torch

from sepme.core.concept import Concept
from sepme.core.dense_shift import DenseShift
from sepme.core.factor_shift import FactorShift
from sepme.core.payload import SiteShift
from sepme.core.shift import ConceptShift, Provenance
from sepme.core.sparse_shift import SparseShift
from sepme.core.text_shift import TextShift

BASE = "sha256:" + "0" * 64
D_TEXT = 12
SITES = {"down.0.attn2.to_k": 5, "down.0.attn2.to_v": 5, "up.1.attn2.to_k": 7}


def make_shift(
    *names: str,
    seed: int = 0,
    rank: int = 2,
    sites: tuple[str, ...] = tuple(SITES),
    decoupled_from: tuple[str, ...] = ("blank",),
    separable: bool = True,
    base: str = BASE,
) -> ConceptShift:
    draw = torch.Generator().manual_seed(seed)
    directions = torch.randn(rank, D_TEXT, generator=draw)
    factors = {site: torch.randn(SITES[site], rank, generator=draw) for site in sites}
    return ConceptShift(
        concepts=tuple(Concept(name, (name.replace("-", " "),)) for name in names),
        payload=SiteShift(directions, factors),
        decoupled_from=decoupled_from,
        separable=separable,
        provenance=Provenance(base, "sepme", {"lr": 0.1}, seed, {"sepme": "0"}, {"rank": rank}),
    )


def make_dense_shift(*names: str, seed: int = 0) -> ConceptShift:
    """A shift of every number of its sites, by a method that is not separable."""
    draw = torch.Generator().manual_seed(seed)
    changes = {site: torch.randn(d_out, D_TEXT, generator=draw) for site, d_out in SITES.items()}
    shift = make_shift(*names, seed=seed, decoupled_from=(), separable=False)
    return replace(shift, payload=DenseShift(changes))


def make_factor_shift(*names: str, seed: int = 0) -> ConceptShift:
    """A low-rank shift with directions and a rank of its own at every site."""
    draw = torch.Generator().manual_seed(seed)
    left, right = {}, {}
    for rank, (site, d_out) in enumerate(SITES.items(), start=1):
        left[site] = torch.randn(d_out, rank, generator=draw)
        right[site] = torch.randn(rank, D_TEXT, generator=draw)
    shift = make_shift(*names, seed=seed, decoupled_from=(), separable=False)
    return replace(shift, payload=FactorShift(left, right))


def make_sparse_shift(*names: str, seed: int = 0) -> ConceptShift:
    """A shift that sets a few random weights to zero."""
    draw = torch.Generator().manual_seed(seed)
    weights = {site: torch.randn(d_out, D_TEXT, generator=draw) for site, d_out in SITES.items()}
    masks = {site: weight > 1 for site, weight in weights.items()}
    shift = make_shift(*names, seed=seed, decoupled_from=(), separable=False)
    return replace(shift, payload=SparseShift.zeroing(weights, masks))


def make_text_shift(*names: str, seed: int = 0, rank: int = 2) -> ConceptShift:
    """A random map of text space, joint if several concepts are named."""
    draw = torch.Generator().manual_seed(seed)
    left, right = (
        torch.randn(D_TEXT, rank, generator=draw),
        torch.randn(rank, D_TEXT, generator=draw),
    )
    return ConceptShift(
        concepts=tuple(Concept(name, (name.replace("-", " "),)) for name in names),
        payload=TextShift(left, right, tuple(SITES)),
        decoupled_from=(),
        separable=False,
        provenance=Provenance(BASE, "uce", {"lamb": 0.5}, seed, {"sepme": "0"}, {"rank": rank}),
    )


def make_base(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(99)
    weights = {site: torch.randn(d_out, D_TEXT, generator=draw) for site, d_out in SITES.items()}
    return {site: weight.to(dtype) for site, weight in weights.items()}
