"""One verification from end to end."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch

from sepme.core.fingerprint import fingerprint
from sepme.core.record import versions
from sepme.errors import NotErased, SpecError
from sepme.verify.cases import BATCH, Batch, Block, plan_blocks, seeds_from
from sepme.verify.evidence import Check, Evidence, Thresholds, Triplet
from sepme.verify.exact import ALL_RESTORED, erased_again, restore_all, state_checks, untouched
from sepme.verify.judge import judge
from sepme.verify.rows import Figures
from sepme.verify.studio import Studio

if TYPE_CHECKING:
    from sepme.pipeline import ErasedPipeline

_SHOWN = 6
_PACKAGES = ("sepme", "torch", "diffusers", "transformers", "numpy", "pillow")


def verify(
    model: ErasedPipeline,
    *,
    n: int = 48,
    seed: int = 0,
    steps: int = 25,
    thresholds: Thresholds | None = None,
    progress: bool = True,
) -> Evidence:
    """Prove what a model has forgotten, what it kept and what it gives back.

    Works on whatever the model's ledger says, and leaves the model as it found it. No image is
    drawn twice, and every figure compares images of the same prompt, seed and batch. With the
    demo's detector, erasure is judged on the concept's own prompts, on training templates and on
    templates never used in training; without a detector only drift and exactness are.

    Args:
        model: The model, with at least one concept that is or was erased.
        n: Held-out images per erased concept; the other groups take fixed shares of it. 48 is
            about 550 images for two erased styles and one restored.
        seed: Seed of the run; its images use seeds no fit uses.
        steps: Denoising steps of an image.
        thresholds: What to reach; None is the default `Thresholds`.
        progress: Whether to show progress on stderr.

    Returns:
        The evidence; ``.passed`` and ``.verdict`` sum it up.

    Raises:
        NotErased: If the ledger never held a concept.
        SpecError: If ``n`` or ``steps`` is below 1.
        BackendError: If an image is missing or broken.
    """
    if n < 1 or steps < 1:
        raise SpecError(f"n and steps must be at least 1, got {n} and {steps}.")
    if not model.ledger.entries:
        raise NotErased("there is nothing to verify: this model never had a concept erased.")
    started = time.monotonic()
    limits = thresholds or Thresholds()
    blocks = plan_blocks(model, n, seed)
    studio = Studio(model, _jobs(model, blocks), steps=steps, progress=progress)
    try:
        checks = _draw(model, studio, blocks)
    finally:
        studio.close()
    found = _evidence(model, studio, blocks, checks, limits, seed)
    took = round(time.monotonic() - started, 1)
    facts = _environment(model, n, seed, steps) | {"images": studio.count, "seconds": took}
    return replace(found, environment=facts)


def _evidence(
    model: ErasedPipeline,
    studio: Studio,
    blocks: Sequence[Block],
    checks: tuple[Check, ...],
    limits: Thresholds,
    seed: int,
) -> Evidence:
    concepts = {concept.name: concept for concept in model.known}
    method = "+".join(sorted({entry.method for entry in model.ledger.entries}))
    figures = Figures(studio, method, seed)
    for block in blocks:
        figures.measure(block)
    return Evidence(
        erased=tuple(concepts[name] for name in model.erased),
        restored=tuple(c for c in model.ledger.known if c.name not in model.erased),
        rows=tuple(figures.rows),
        checks=checks + untouched(model, figures, blocks, concepts, limits),
        judgements=judge(figures.rows, model.ledger.known, limits),
        thresholds=limits,
        judged=tuple(sorted({b.name for b in blocks if b.role == "erased" and b.head})),
        grids=tuple(t for block in _shown(blocks) for t in _triplets(studio, block)),
        environment={},
    )


def _shown(blocks: Sequence[Block]) -> list[Block]:
    """The block of each concept whose pictures are shown: held-out where there is one."""
    last = {block.name: block for block in blocks if block.role in ("erased", "restored")}
    return list(last.values())


def _extra_state(block: Block) -> str:
    """The state in which a shown block has the picture that live and original do not give."""
    return f"restored {block.name}" if block.role == "erased" else f"erased {block.name}"


def _proof_batches(blocks: Sequence[Block]) -> list[Batch]:
    """What is drawn with everything restored: the known prompts and a batch of one concept."""
    literal = [b for b in blocks if b.role in ("erased", "restored") and b.split == "literal"]
    return [b.batch for b in (*literal[:1], *(b for b in blocks if b.role == "known"))]


def _jobs(model: ErasedPipeline, blocks: Sequence[Block]) -> list[tuple[str, Batch]]:
    jobs = [("live", block.cases) for block in blocks]
    jobs += [("original", block.pairs) for block in blocks]
    jobs += [(_extra_state(block), block.batch) for block in _shown(blocks)]
    return jobs + [(ALL_RESTORED, batch) for batch in _proof_batches(blocks)]


def _draw(model: ErasedPipeline, studio: Studio, blocks: Sequence[Block]) -> tuple[Check, ...]:
    """Draw every job in its state, and do the exactness checks on the way."""
    checks = state_checks(model)
    for block in blocks:
        studio.draw("live", block.cases)
    with model.backend.pristine():
        for block in blocks:
            studio.draw("original", block.pairs)
    for block in _shown(blocks):
        if block.role == "restored":
            context: Any = erased_again(model, block.name)
        else:
            context = model.restored(model.ledger.entry(block.name).name)
        with context:
            studio.draw(_extra_state(block), block.batch)
    return checks + restore_all(model, studio, _proof_batches(blocks))


def _triplets(studio: Studio, block: Block) -> list[Triplet]:
    extra = _extra_state(block)
    erased, restored = ("live", extra) if block.role == "erased" else (extra, "live")
    states = ("original", erased, restored)
    triplets = []
    for case in [case for case in block.batch if case in block.pairs][:_SHOWN]:
        images = tuple(studio.image(state, case) for state in states)
        labels = tuple(
            studio.label(state, case, block.head) if block.head else None for state in states
        )
        triplets.append(Triplet(block.name, case.prompt, case.seed, images, labels))  # type: ignore[arg-type]
    return triplets


def _environment(model: ErasedPipeline, n: int, seed: int, steps: int) -> dict[str, Any]:
    first = seeds_from(seed)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": model.source,
        "base": model.ledger.base,
        "ledger": model.ledger.digest,
        "detector": detector_name(model.detector),
        "n": n,
        "seed": seed,
        "image_seeds": f"{first} and up, one per image of a group",
        "batch": BATCH,
        "sampler": f"{type(model.pipeline.scheduler).__name__}, {steps} steps",
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        "device": str(model.pipeline.device),
        "python": platform.python_version(),
        "versions": dict(versions(*_PACKAGES)),
    }


def detector_name(detector: Any) -> str | None:  # noqa: ANN401 (whatever sees images)
    """A detector's kind and fingerprint; None without one."""
    if detector is None:
        return None
    net = getattr(detector, "net", None)
    if net is None:
        return type(detector).__name__
    labels = {head: " ".join(names) for head, names in detector.labels.items()}
    return f"{type(detector).__name__} {fingerprint(net.state_dict().items(), labels)[:19]}"
