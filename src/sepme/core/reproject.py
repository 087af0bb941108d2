"""Earlier shifts made to leave alone what came up later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.core.listing import listed
from sepme.core.payload import SiteShift
from sepme.core.record import Scalar
from sepme.core.shift import ConceptShift
from sepme.core.text_shift import TextShift
from sepme.errors import MethodError, NotSeparable
from sepme.linalg.null_space import NullSpace, null_space, private_directions

_ROUNDING = 1e-4
"""Share of its effect that may be nothing but rounding in float32."""


def reproject(
    shift: ConceptShift,
    model: Backend,
    beside: Sequence[Concept] = (),
    *,
    amplify: float = 1.0,
    rtol: float = 1e-6,
) -> ConceptShift:
    """The shift without its part on the prompts of concepts it did not know.

    ``dW' = dW P`` with ``P`` the projector onto the null space of *all* prompts to leave alone,
    old and new in one matrix: projectors do not commute, and ``P_new`` alone would open old leaks
    again (SRS-ME, weight decoupling, eq. 22-25). A closed form, no training. The weights change
    at most as much as before, but prompts may move more, if what is lost worked against what is
    left: ``provenance.fit["kept"]`` is the effect on its own prompts relative to that of the fit
    (Frobenius norm, at least 0, can exceed 1), and ``"reprojected"`` names the shift it came
    from. Erase it to replace the earlier one; that is an event of its own in the ledger's history.

    What is left can be amplified up to the effect of the fit, ``"amplified"`` times in all. Listed
    prompts then stay as they are up to rounding, which grows alike, and so does what the shift does
    to the weights and to prompts nobody listed.

    Args:
        shift: A shift that acts through directions of text space: of ``sepme``, ``sepme-joint`` or
            ``sepme-text``.
        model: The model it was fitted on; everything in ``model.known`` is left alone.
        beside: What else to leave alone, such as what the shift listed and the ledger never held.
        amplify: Largest factor that what is left is multiplied by, in all, to have the effect of
            the fit again: at least 1, which is not at all.
        rtol: As for `sepme.linalg.null_space.null_space`.

    Returns:
        Another shift of the same concept, which lists everything it leaves alone.

    Raises:
        MethodError: If it is no such shift, does nothing, or lists concepts nobody describes here;
            or if ``amplify`` is out of range.
        NullSpaceExhausted: If the prompts span the whole text space.
        NotSeparable: If the concept is to be left alone too, or nothing of it, or only rounding to
            be amplified, is left.

    Example:
        >>> import sepme
        >>> model, (old, new) = sepme.load("demo"), sepme.demo.concepts()[:2]
        >>> shift = sepme.METHODS["sepme-text"]().fit(model, old)
        >>> later = reproject(shift, model, [new])
        >>> new.name in shift.decoupled_from, new.name in later.decoupled_from
        (False, True)
    """
    concept, others = _sides(shift, model, beside)
    rows = model.encode(tuple(dict.fromkeys(p for other in others for p in other.prompts)))
    space, own = null_space(rows, rtol=rtol), model.encode(concept.prompts)
    private_directions(own, space)  # raises if there is none
    payload, told = _amplified(shift, _projected(_readable(shift), space), own, amplify)
    return replace(
        shift,
        payload=payload,
        decoupled_from=tuple(other.name for other in others),
        provenance=replace(shift.provenance, fit={**shift.provenance.fit, **told}),
    )


def _sides(
    shift: ConceptShift, model: Backend, beside: Sequence[Concept]
) -> tuple[Concept, tuple[Concept, ...]]:
    """What a shift erases, and everything it is to leave alone."""
    if not shift.separable or len(shift.concepts) > 1:
        raise MethodError(
            f"{shift.name!r} was fitted by {shift.provenance.method!r}, which is not separable, so "
            "it cannot be made to leave single concepts alone. Fit it again with what is to stay."
        )
    (concept,) = shift.concepts
    others = listed(model, concept, beside)
    if missing := sorted(set(shift.decoupled_from) - {other.name for other in others}):
        raise MethodError(
            f"{shift.name!r} leaves {missing[0]!r} alone, of which neither the model nor `beside` "
            "knows the prompts. Give that concept too."
        )
    return concept, others


def _amplified(
    shift: ConceptShift, payload: SiteShift | TextShift, own: Tensor, amplify: float
) -> tuple[SiteShift | TextShift, dict[str, Scalar]]:
    """What is left of a shift, as loud as it may be, and what is to be told of it."""
    if not amplify >= 1:
        raise MethodError(f"amplify must be at least 1 (1 = as projected), got {amplify}.")
    fit = shift.provenance.fit
    left = float(fit.get("kept") or 1.0) * _effect(payload, own) / _own_effect(shift, own)
    before = float(fit.get("amplified") or 1.0)
    factor = max(1.0, min(1 / left, amplify / before))
    if factor > 1 and left < _ROUNDING:
        raise NotSeparable(
            f"{shift.name!r} keeps {left:.1e} of its effect, at least {_ROUNDING:g} is needed to "
            "amplify it. Fit it again, or leave less alone."
        )
    told: dict[str, Scalar] = {"reprojected": shift.digest, "kept": factor * left}
    return _scaled(payload, factor), {**told, "amplified": factor * before}


def _readable(shift: ConceptShift) -> SiteShift | TextShift:
    if isinstance(shift.payload, SiteShift | TextShift):
        return shift.payload
    raise MethodError(
        f"a {shift.payload.kind!r} payload does not act through directions of text space, so it "
        "cannot be projected. Fit it again with what is to stay."
    )


def _projected(payload: SiteShift | TextShift, space: NullSpace) -> SiteShift | TextShift:
    if isinstance(payload, SiteShift):
        return SiteShift(space.project(payload.directions).float(), payload.factors)
    return replace(payload, right=space.project(payload.right).float())


def _scaled(payload: SiteShift | TextShift, factor: float) -> SiteShift | TextShift:
    if isinstance(payload, SiteShift):
        return SiteShift(factor * payload.directions, payload.factors)
    return replace(payload, right=factor * payload.right)


def _own_effect(shift: ConceptShift, rows: Tensor) -> float:
    if effect := _effect(_readable(shift), rows):
        return effect
    raise MethodError(
        f"{shift.name!r} does nothing to its own prompts, so nothing of it can be kept. "
        "Fit it again with what is to stay."
    )


def _effect(payload: SiteShift | TextShift, rows: Tensor) -> float:
    """How large the change of what the rows give is, over all that the payload stores."""
    if isinstance(payload, SiteShift):
        reads, lefts = payload.directions, tuple(payload.factors.values())
    else:
        reads, lefts = payload.right, (payload.left,)
    moved = reads.double() @ rows.flatten(0, 1).double().cpu().T
    total = torch.stack([(left.double() @ moved).square().sum() for left in lefts]).sum()
    return float(total.sqrt())
