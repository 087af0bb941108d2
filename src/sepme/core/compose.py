"""Pristine weights plus the active shifts, and the guards among these."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias, cast

import torch
from torch import Tensor

from sepme.core.backend import Backend
from sepme.core.guard import Guard
from sepme.core.shift import ConceptShift
from sepme.core.text_shift import TextShift
from sepme.errors import BaseMismatch, LedgerError, did_you_mean
from sepme.linalg.low_rank import LowRank

Live: TypeAlias = list[tuple[ConceptShift, float]]

KEPT_MAPS = 4
"""Summed maps of text space are kept for so many sets, those used last."""


def compose(
    base: Mapping[str, Tensor], shifts: Iterable[tuple[ConceptShift, float]]
) -> dict[str, Tensor]:
    """Weights of a model that has forgotten what the shifts erase.

    ``W = W0 + sum_k s_k dW_k``, always from the pristine weights, never by subtraction. Terms are
    added in float64 in an order fixed by their names and digests, then cast once, so the same set
    gives the same bits whatever order it is given in. Leaving a shift out is restoring exactly
    (SRS-ME, weight decoupling, eq. 17-26).

    Maps of text space are first summed to one, ``M = sum_k s_k M_k``, by one product whatever their
    number, and every site then changes by ``W0 M``, in the precision of the weight, float32 at
    least. See `summed_map` and `folded`.

    Args:
        base: Site to pristine weight, ``(d_out, d_in)``, any floating dtype and device; not
            modified.
        shifts: Pairs of a shift and its strength (dimensionless, 1 = as fitted).

    Returns:
        Every site of ``base``, with its dtype and device. A site that no shift touches is the very
        tensor of ``base``.

    Raises:
        BaseMismatch: If a shift names a site that ``base`` lacks, or one of another shape.
        LedgerError: If a strength is not finite.

    Example:
        >>> base = {"to_k": torch.zeros(2, 3), "to_v": torch.zeros(2, 3)}
        >>> compose(base, [])["to_v"] is base["to_v"]
        True
    """
    live = in_order(shifts)
    for shift, strength in live:
        check_sites(shift, strength, base)
    maps, others = _text_maps(live, base), _others(live)
    return {
        site: _composed(weight, site, maps.get(site), others.get(site, []))
        for site, weight in base.items()
    }


def guards_of(shifts: Iterable[tuple[ConceptShift, float]]) -> tuple[tuple[Guard, float], ...]:
    """The guards among some shifts, in the order in which they act.

    They act in name order, so the same set gives the same bits whatever order it is given in.

    Args:
        shifts: Pairs of a shift and its strength (dimensionless, 1 = as fitted).

    Returns:
        Guards with their strengths.

    Example:
        >>> guards_of([])
        ()
    """
    return tuple(
        (shift.payload, strength)
        for shift, strength in in_order(shifts)
        if isinstance(shift.payload, Guard)
    )


def in_order(shifts: Iterable[tuple[ConceptShift, float]]) -> list[tuple[ConceptShift, float]]:
    """Shifts in the order in which they are added up: by name, digest and strength.

    Args:
        shifts: Pairs of a shift and its strength.

    Returns:
        The same pairs.
    """
    return sorted(shifts, key=lambda pair: (pair[0].name, pair[0].digest, pair[1]))


def check_sites(shift: ConceptShift, strength: float, base: Mapping[str, Tensor]) -> None:
    """Refuse a shift of weights that a model does not have.

    Args:
        shift: The shift.
        strength: Its strength.
        base: Site to pristine weight.

    Raises:
        BaseMismatch: If a site is missing.
        LedgerError: If the strength is not finite.
    """
    if not math.isfinite(strength):
        raise LedgerError(f"strength of {shift.name!r} must be finite, got {strength}.")
    for site in shift.payload.sites:
        if site not in base:
            raise BaseMismatch(
                f"shift {shift.name!r} changes {site!r}, which this model does not have. "
                f"It was fitted on base {shift.provenance.base}. {did_you_mean(site, base)}"
            )


def check_shape(shift: ConceptShift, site: str, shape: Sequence[int], weight: Tensor) -> None:
    """Refuse a change of a weight that has another shape.

    Args:
        shift: The shift.
        site: Which of its changes it is.
        shape: Shape of the change.
        weight: The pristine weight.

    Raises:
        BaseMismatch: If the shapes differ.
    """
    if tuple(shape) != tuple(weight.shape):
        raise BaseMismatch(
            f"shift {shift.name!r} changes {site!r} by a {tuple(shape)} matrix, but this "
            f"model's weight is {tuple(weight.shape)}. "
            f"Load the base it was fitted on: {shift.provenance.base}."
        )


def sites_of(
    model: Backend, shifts: Iterable[ConceptShift], *, besides: Iterable[str] = ()
) -> dict[str, Tensor]:
    """Pristine weights of the text sites and of everything else that some shifts change.

    Args:
        model: The model.
        shifts: The shifts; a site the model does not have is left for `compose` to refuse.
        besides: More sites.

    Returns:
        Site to pristine weight, as `compose` takes it.
    """
    text = model.sites()
    changed = (site for shift in shifts for site in shift.payload.sites)
    more = {site for site in (*besides, *changed) if site not in text}
    return {**text, **model.sites(tuple(sorted({*text, *more})))} if more else dict(text)


def summed_map(maps: Iterable[tuple[ConceptShift, float]]) -> Tensor:
    """The sum of the maps of some text shifts, each times its strength.

    The factors stand side by side in a fixed order, so that the sum is one product. It is kept for
    the last few sets: coming back to one of them costs nothing.

    Args:
        maps: Pairs of a text shift and its strength, at least one, all of one width.

    Returns:
        ``M``, ``(d_text, d_text)``, float64, on the CPU; shared, so not to be modified.
    """
    return _summed(tuple(in_order(maps)))


def forget_maps() -> None:
    """Keep no summed map, so that the next one is worked out anew."""
    _summed.cache_clear()


def folded(weight: Tensor, text_map: Tensor) -> Tensor:
    """A weight that reads every embedding ``e`` as if it were ``e + M e``.

    The product ``W M`` has the precision of the weight, float32 at least: a weight of float32 then
    differs from one made in float64 by what float32 rounds.

    Args:
        weight: ``W``, ``(d_out, d_text)``, any floating dtype and device; not modified.
        text_map: ``M``, ``(d_text, d_text)``, on the CPU.

    Returns:
        ``W + W M``, float32 or float64, on the CPU.

    Example:
        >>> folded(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
        tensor([[3., 7.]])
    """
    dtype = torch.promote_types(weight.dtype, torch.float32)
    own = weight.detach().to("cpu", dtype, copy=True)  # a copy is aligned, so the bits are its own
    return torch.addmm(own, own, text_map.to(dtype))


@lru_cache(maxsize=KEPT_MAPS)
def _summed(maps: tuple[tuple[ConceptShift, float], ...]) -> Tensor:
    payloads = [cast(TextShift, shift.payload) for shift, _ in maps]
    strengths = [strength for _, strength in maps]
    ranks = torch.tensor([len(payload.right) for payload in payloads])
    scale = torch.tensor(strengths, dtype=torch.float64).repeat_interleave(ranks)
    left = torch.cat([payload.left for payload in payloads], dim=1).double() * scale
    return LowRank(left, torch.cat([payload.right for payload in payloads])).dense()


def _text_maps(live: Live, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Site to the sum of the maps it takes part in; sites of the same maps share one tensor."""
    alike: dict[tuple[tuple[str, ...], int], Live] = {}
    for shift, strength in live:
        if isinstance(payload := shift.payload, TextShift):
            alike.setdefault((payload.sites, len(payload.left)), []).append((shift, strength))
    parts: dict[str, list[tuple[tuple[str, ...], int]]] = {}
    for key in sorted(alike):
        for site in key[0]:
            cast(TextShift, alike[key][0][0].payload).check_width(site, base[site])
            parts.setdefault(site, []).append(key)
    distinct = {tuple(keys) for keys in parts.values()}
    sums = {keys: sum(summed_map(alike[key]) for key in keys) for keys in distinct}
    return {site: cast(Tensor, sums[tuple(keys)]) for site, keys in parts.items()}


def _others(live: Live) -> dict[str, Live]:
    """Site to the shifts that change it otherwise, in order."""
    found: dict[str, Live] = {}
    for shift, strength in live:
        if not isinstance(shift.payload, TextShift):
            for site in shift.payload.sites:
                found.setdefault(site, []).append((shift, strength))
    return found


def _composed(weight: Tensor, site: str, text_map: Tensor | None, others: Live) -> Tensor:
    if text_map is None and not others:
        return weight
    total = weight.detach().to("cpu") if text_map is None else folded(weight, text_map)
    if others:
        total = total.to(torch.float64, copy=True)
    for shift, strength in others:
        delta = shift.payload.delta(site, weight)
        check_shape(shift, site, delta.shape, weight)
        total.add_(delta, alpha=strength)
    return total.to(weight.device, weight.dtype)
