"""What must hold to the last bit, or to one step of 255."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sepme.core.compose import compose, guards_of, sites_of
from sepme.core.concept import Concept
from sepme.core.shift import ConceptShift
from sepme.verify.cases import Batch, Block, Case
from sepme.verify.evidence import Check, Thresholds
from sepme.verify.rows import Figures
from sepme.verify.studio import Studio

if TYPE_CHECKING:
    from sepme.pipeline import ErasedPipeline

ALL_RESTORED = "all restored"

Weights = Mapping[str, Tensor]


def same(a: Weights, b: Weights) -> bool:
    """Whether two sets of weights are equal, bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[site], b[site]) for site in a)


@contextmanager
def erased_again(model: ErasedPipeline, name: str) -> Iterator[None]:
    """Run as if a restored concept were erased again; the ledger does not change.

    Args:
        model: The model.
        name: A concept the ledger holds as restored.

    Yields:
        Nothing.
    """
    entry = model.ledger.entry(name)
    pairs = list(zip(model.shifts, (e.strength for e in model.ledger.active), strict=True))
    pairs.append((model.shift(name), entry.strength))
    with model.backend.pristine():
        model.backend.write(compose(sites_of(model, (shift for shift, _ in pairs)), pairs))
        model.backend.guard(guards_of(pairs))
        yield


def restore_all(
    model: ErasedPipeline, studio: Studio, batches: Sequence[Batch]
) -> tuple[Check, ...]:
    """Give everything back for a moment, compare with the original, and erase it again.

    Args:
        model: The model.
        studio: Draws the images; has those of the original.
        batches: What to draw: batches the original was drawn in too, since the last bit of an
            image can depend on its neighbours in a batch.

    Returns:
        Checks of weights, fingerprint, images, and of the erased state's return.
    """
    before = {site: weight.clone() for site, weight in model.backend.live().items()}
    ledger, guards, originals = model.ledger, model.backend.guards, model.backend.originals()
    with model.restored(*(entry.name for entry in ledger.active)):
        weights = same(model.backend.live(), model.sites()) and not model.backend.guards
        weights = weights and same(model.sites(tuple(originals)), originals)
        fresh = _fresh_fingerprint(model)
        for batch in batches:
            studio.draw(ALL_RESTORED, batch)
    cases = [case for batch in batches for case in batch]
    equal = sum(_bytes(studio, ALL_RESTORED, c) == _bytes(studio, "original", c) for c in cases)
    back = same(model.backend.live(), before) and model.backend.guards == guards
    back = back and model.ledger == ledger
    count = sum(weight.numel() for weight in before.values())
    return (
        Check(
            "everything restored: weights",
            weights,
            f"{count:,} weights in {len(before)} sites, compared bit for bit.",
        ),
        Check(
            "everything restored: images",
            equal == len(cases),
            f"{equal} of {len(cases)} images are equal to the original's, byte for byte.",
        ),
        Check(
            "everything restored: the model is the base",
            fresh == ledger.base,
            f"Fingerprint {fresh[:19]}..., the ledger's base is {ledger.base[:19]}...",
        ),
        Check(
            "erased again: the erased state came back",
            back,
            "Weights compared bit for bit with those before the restoration.",
        ),
    )


def state_checks(model: ErasedPipeline) -> tuple[Check, ...]:
    """That the live weights are what the ledger says and the shifts are what was recorded.

    Args:
        model: The model.

    Returns:
        Two checks, and a notice for each shift of single weights.
    """
    entries = model.ledger.active
    active = list(zip(model.shifts, (entry.strength for entry in entries), strict=True))
    live = same(model.backend.live(), compose(sites_of(model, model.shifts), active))
    live = live and model.backend.guards == guards_of(active)
    digests = [
        ConceptShift.from_parts(shift.metadata(), shift.payload.tensors()).digest
        for shift in model.shifts
    ]
    right = sum(found == entry.shift for found, entry in zip(digests, entries, strict=True))
    return (
        Check(
            "the live weights are the original plus the active shifts",
            live,
            f"{len(active)} active shifts, composed again and compared bit for bit.",
        ),
        Check(
            "the shifts are the ones the ledger recorded",
            right == len(entries),
            f"{right} of {len(entries)} digests (SHA-256) agree.",
        ),
        *_positions(model.shifts),
    )


def _positions(shifts: Sequence[ConceptShift]) -> Iterator[Check]:
    """What shifts of single weights give away."""
    for shift in shifts:
        if shift.payload.kind == "sparse":
            yield Check(
                f"{shift.name}: what the positions of its changed weights give away",
                None,
                "They tell which concept it is to whoever has the shift or the erased weights, and "
                "help to revive it (https://arxiv.org/abs/2603.06640).",
            )


def untouched(
    model: ErasedPipeline,
    figures: Figures,
    blocks: Sequence[Block],
    concepts: Mapping[str, Concept],
    thresholds: Thresholds,
) -> tuple[Check, ...]:
    """That literal prompts of restored, blank and watermark concepts give the original images.

    A verdict is passed only where every active shift lists the concept among those it leaves
    alone; elsewhere nothing was promised and the leak is told.

    Args:
        model: The model.
        figures: Has the images of both states.
        blocks: All blocks.
        concepts: Concepts by name.
        thresholds: Allows ``restore_error``.

    Returns:
        One check per concept.
    """
    checks = []
    for block in blocks:
        if block.split != "literal" or block.role not in ("restored", "known"):
            continue
        worst = max(figures.pixel_differences(block.pairs))
        missing = [e.name for e in model.ledger.active if block.name not in e.decoupled_from]
        detail = f"Largest pixel difference {worst} of 255 in {_count(len(block.pairs))}."
        if missing:
            detail += f" Not promised by {', '.join(missing)}{_leak(model, concepts[block.name])}."
        passed = None if missing else worst <= thresholds.restore_error
        what = "restored" if block.role == "restored" else "left alone"
        label = concepts[block.name].prompts[0] or "the blank prompt"
        checks.append(Check(f"{label} is {what} exactly on its own prompts", passed, detail))
    return tuple(checks)


def leak(model: ErasedPipeline, concept: Concept) -> float:
    """Largest relative effect of an active shift on a concept's own prompts.

    Args:
        model: The model.
        concept: The concept.

    Returns:
        ``|dW e| / (|dW| |e|)``, the largest over shifts and text sites (Frobenius norms, 0 to 1).
    """
    rows = model.encode(concept.prompts).to("cpu", torch.float64)
    rows = rows.reshape(-1, rows.shape[-1])
    sites = model.sites()
    deltas = (
        shift.payload.delta(site, sites[site])
        for shift in model.shifts
        for site in shift.payload.sites
        if site in sites
    )
    sizes = [
        float((rows @ delta.T).norm() / (rows.norm() * delta.norm()))
        for delta in deltas
        if delta.norm() > 0
    ]
    return max(sizes, default=0.0)


def _leak(model: ErasedPipeline, concept: Concept) -> str:
    """The leak in words; nothing if only guards are active, which have none in the weights."""
    weights = any(shift.payload.sites for shift in model.shifts)
    return f"; leak {leak(model, concept):.1e}" if weights else ""


def _count(images: int) -> str:
    return f"{images} image{'s' if images > 1 else ''}"


def _fresh_fingerprint(model: ErasedPipeline) -> str:
    """Fingerprint of the weights as they are now, text encoder and tokenizer included."""
    return type(model.backend)(model.pipeline, model.backend.sidecar).fingerprint


def _bytes(studio: Studio, state: str, case: Case) -> bytes:
    return studio.pixels(state, case).tobytes()
