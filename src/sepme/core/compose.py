"""Pristine weights plus the active shifts, and the guards among these."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from sepme.core.backend import Backend
from sepme.core.guard import Guard
from sepme.core.shift import ConceptShift
from sepme.errors import BaseMismatch, LedgerError, did_you_mean


def compose(
    base: Mapping[str, Tensor], shifts: Iterable[tuple[ConceptShift, float]]
) -> dict[str, Tensor]:
    """Weights of a model that has forgotten what the shifts erase.

    ``W = W0 + sum_k s_k dW_k``, always from the pristine weights, never by subtraction. Terms are
    added in float64 in an order fixed by their names and digests, then cast once, so the same set
    gives the same bits whatever order it is given in. Leaving a shift out is restoring exactly
    (SRS-ME, weight decoupling, eq. 17-26).

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
    return {site: _composed(site, weight, live) for site, weight in base.items()}


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


def _composed(site: str, weight: Tensor, live: list[tuple[ConceptShift, float]]) -> Tensor:
    terms = [pair for pair in live if site in pair[0].payload.sites]
    if not terms:
        return weight
    total = weight.detach().to("cpu", torch.float64, copy=True)
    for shift, strength in terms:
        delta = shift.payload.delta(site, weight)
        check_shape(shift, site, delta.shape, weight)
        total.add_(delta, alpha=strength)
    return total.to(weight.device, weight.dtype)
