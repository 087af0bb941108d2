"""What an erased set does to the rows of a batch that have it, while the weights stay pristine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from sepme.core.compose import check_shape, check_sites, compose, guards_of, in_order, summed_map
from sepme.core.guard import Guard
from sepme.core.payload import SiteShift
from sepme.core.shift import ConceptShift
from sepme.core.text_shift import TextShift
from sepme.errors import MethodError
from sepme.linalg.low_rank import LowRank

Strengths = Sequence[tuple[ConceptShift, float]]


@dataclass(frozen=True, eq=False)
class SidePath:
    """Gives some rows what the folded weights would give, up to rounding.

    With text embeddings ``e`` of those rows, ``W`` the pristine weight of a site and ``M`` the sum
    of the maps of text space, ``x (W + W M + A D)^T = (x + x M^T) W^T + (x D^T) A^T``: the map
    acts once, on the embedding, and ``x D^T`` serves every site. ``D`` reads the unmapped
    embedding.

    Attributes:
        text_map: ``M^T`` as ``(d_text, r)`` and ``(r, d_text)``, float32 at least, or None.
        directions: ``D^T``, ``(d_text, r)``, float32 at least, or None.
        factors: Site to ``A^T``, ``(r, d_out)``, strengths included, float32 at least.
        weights: Site to the weight that takes the place of the pristine one; a site is here or in
            ``factors``, not in both.
        guards: Guards with their strengths, in the order in which they act.
    """

    text_map: LowRank | None = None
    directions: Tensor | None = None
    factors: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    guards: tuple[tuple[Guard, float], ...] = ()

    @property
    def modules(self) -> tuple[str, ...]:
        """Module paths whose outputs it changes."""
        guarded = (name for guard, _ in self.guards for name in guard.modules)
        return tuple(dict.fromkeys((*self.factors, *self.weights, *guarded)))

    @property
    def nbytes(self) -> int:
        """Size of what was worked out for it, in bytes; guards are those of the shifts."""
        own = [*self.factors.values(), *self.weights.values(), *(self.text_map or ())]
        if self.directions is not None:
            own.append(self.directions)
        return sum(tensor.nbytes for tensor in own)

    def guarded(self, embeds: Tensor, *, guided: bool) -> Tensor:
        """Text embeddings after the guards, as folded weights would read them.

        Args:
            embeds: ``(n, tokens, d_text)``.
            guided: Whether these are two halves, the unconditional rows first.

        Returns:
            Same shape; the very tensor if no guard acts on embeddings.
        """
        given = embeds
        for guard, strength in self.guards:
            if guided or not guard.guided_only:
                embeds = guard.text_after(embeds, given, strength)
        return embeds

    def mapped(self, text: Tensor) -> Tensor:
        """Text embeddings as the pristine weights are to read them.

        Args:
            text: What `guarded` gave.

        Returns:
            Same shape and dtype; the very tensor if there is no map.
        """
        if self.text_map is None:
            return text
        wide = text.to(self.text_map.left.dtype)
        return (wide + wide @ self.text_map.left @ self.text_map.right).to(text.dtype)

    def inner(self, text: Tensor) -> Tensor | None:
        """``x D^T``, which every site of ``factors`` multiplies with its own factor.

        Args:
            text: What `guarded` gave.

        Returns:
            ``(n, tokens, r)``, float32 at least, or None if there is no such site.
        """
        return None if self.directions is None else text.to(self.directions.dtype) @ self.directions


def side_path(base: Mapping[str, Tensor], text: Collection[str], active: Strengths) -> SidePath:
    """Work out the side path of an erased set.

    Maps of text space are summed to one, which acts on the embedding whatever their number: a
    thousand maps cost no more than a square matrix. Other changes of low rank that read only the
    text stay factors, as long as their ranks together are at most ``d_text``. For anything else
    the weights of the touched sites are composed, and the rows are multiplied with these: exact as
    well, and for a text site never more than its own cost a second time.

    Args:
        base: Site to pristine weight: all text sites, and whatever else the shifts change.
        text: Names of the text sites.
        active: Pairs of a shift and its strength; not empty.

    Returns:
        The side path, on the device of ``base``. Factors are float32 at least: one may be too large
        or too small for half precision where the product is not. Composed weights have the dtype
        of ``base``.

    Raises:
        BaseMismatch: If a shift does not fit the model.
        LedgerError: If a strength is not finite.
        MethodError: If a shift changes a convolution.

    Example:
        >>> from sepme.core.concept import Concept
        >>> from sepme.core.shift import Provenance
        >>> payload = SiteShift(torch.eye(1, 2), {"to_k": torch.ones(2, 1)})
        >>> origin = Provenance("sha256:0", "sepme", {}, seed=0, versions={})
        >>> shift = ConceptShift((Concept("cat", ("cat",)),), payload, (), True, origin)
        >>> path = side_path({"to_k": torch.zeros(2, 2)}, {"to_k"}, [(shift, 0.5)])
        >>> path.inner(torch.tensor([[[3.0, 4.0]]])) @ path.factors["to_k"]
        tensor([[[1.5000, 1.5000]]])
    """
    ordered = in_order(active)
    changes = [pair for pair in ordered if pair[0].payload.sites]
    for shift, strength in changes:
        check_sites(shift, strength, base)
    guards = guards_of(ordered)
    if not _stays_factors(changes, text, base):
        return SidePath(weights=_composed(base, changes), guards=guards)
    maps = [pair for pair in changes if _maps_all(pair[0], text)]
    beside = [pair for pair in changes if not _maps_all(pair[0], text)]
    like = base[next(iter(text))]
    return SidePath(
        text_map=_text_map(maps, base, like) if maps else None,
        directions=_joined([_rows(shift) for shift, _ in beside], like).T if beside else None,
        factors=_factors(beside, base),
        guards=guards,
    )


def _maps_all(shift: ConceptShift, text: Collection[str]) -> bool:
    """Whether a map serves every text site, so that it can act on the embedding itself."""
    return isinstance(shift.payload, TextShift) and set(shift.payload.sites) == set(text)


def _stays_factors(changes: Strengths, text: Collection[str], base: Mapping[str, Tensor]) -> bool:
    ranks = 0
    for shift, _ in changes:
        payload = shift.payload
        if not isinstance(payload, SiteShift | TextShift) or not set(payload.sites) <= set(text):
            return False
        ranks += 0 if _maps_all(shift, text) else len(_rows(shift))
    return ranks <= min(base[site].shape[1] for site in text)


def _rows(shift: ConceptShift) -> Tensor:
    """The directions of text space that a low-rank change reads, ``(r, d_text)``."""
    payload = shift.payload
    if isinstance(payload, TextShift):
        return payload.right
    return cast(SiteShift, payload).directions


def _text_map(maps: Strengths, base: Mapping[str, Tensor], like: Tensor) -> LowRank:
    """``M^T`` of several maps, which add up; checked against every weight they serve.

    Maps whose ranks together reach ``d_text`` are one square matrix, and the other factor is the
    identity, by which multiplying is exact.
    """
    left, ranks = [], 0
    for shift, strength in maps:
        own = cast(TextShift, shift.payload).left.double()
        for site in shift.payload.sites:
            check_shape(shift, site, (len(base[site]), len(own)), base[site])
        left.append(strength * own.T)
        ranks += own.shape[1]
    if ranks >= (width := like.shape[1]):
        square = summed_map(maps).T
        return LowRank(_joined([square], like), _joined([torch.eye(width)], like))
    return LowRank(_joined([_rows(shift) for shift, _ in maps], like).T, _joined(left, like))


def _factors(beside: Strengths, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Site to the factors of all shifts one below the other, zeros where a shift has none."""
    touched = dict.fromkeys(site for shift, _ in beside for site in shift.payload.sites)
    found = {}
    for site in touched:
        weight = base[site]
        blocks = [
            strength * _column(shift, site, weight).T
            if site in shift.payload.sites
            else torch.zeros(len(_rows(shift)), len(weight), dtype=torch.float64)
            for shift, strength in beside
        ]
        found[site] = _joined(blocks, weight)
    return found


def _column(shift: ConceptShift, site: str, weight: Tensor) -> Tensor:
    """``A`` of one site, ``(d_out, r)``, float64, on the CPU; that of a map is ``W`` times it."""
    payload = shift.payload
    if isinstance(payload, TextShift):
        change = payload.low_rank(site, weight)
    else:
        change = cast(SiteShift, payload).low_rank(site)
    check_shape(shift, site, (len(change.left), change.right.shape[1]), weight)
    return change.left.double()


def _joined(blocks: Iterable[Tensor], like: Tensor) -> Tensor:
    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.cat([block.double() for block in blocks]).to(like.device, dtype)


def _composed(base: Mapping[str, Tensor], changes: Strengths) -> dict[str, Tensor]:
    """Weights of the touched sites with the set folded in."""
    touched = {site: shift for shift, _ in changes for site in shift.payload.sites}
    for site, shift in touched.items():
        if base[site].ndim != 2:
            raise MethodError(
                f"shift {shift.name!r} ({shift.provenance.method}) changes the convolution "
                f"{site!r}, which all rows of a batch share; erase it for the whole model instead."
            )
    composed = compose({site: base[site] for site in touched}, changes)
    return {site: composed[site] for site in touched}
