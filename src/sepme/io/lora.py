"""Shifts as LoRA files, for diffusers, ComfyUI and A1111."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import safetensors.torch
import torch
from torch import Tensor

from sepme.core.factor_shift import FactorShift
from sepme.core.payload import SiteShift
from sepme.core.record import canonical_json
from sepme.core.shift import ConceptShift
from sepme.core.text_shift import TextShift
from sepme.errors import LedgerError, MethodError, ShiftFileError
from sepme.io.atomic import write_atomic
from sepme.io.shift_file import SPEC
from sepme.linalg.low_rank import LowRank, compress

Names: TypeAlias = Literal["kohya", "peft"]
"""Kohya's names load in diffusers, ComfyUI and A1111; peft's in diffusers only (U-Nets)."""

Architecture: TypeAlias = Literal["sd1", "sd2", "sd2-v", "sdxl"]

_ARCHITECTURES: Mapping[str, tuple[str, str]] = {  # ours: (ModelSpec's, kohya's)
    "sd1": ("stable-diffusion-v1", "sd_v1"),
    "sd2": ("stable-diffusion-v2-512", "sd_v2"),
    "sd2-v": ("stable-diffusion-v2-768-v", "sd_v2_v"),
    "sdxl": ("stable-diffusion-xl-v1-base", "sdxl_base_v1-0"),
}

_DOWN = ("lora_down.weight", "lora_A.weight")

Weighted: TypeAlias = Sequence[tuple[ConceptShift, float]]


def lora_state_dict(
    shifts: Weighted, *, names: Names = "kohya", base: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Tensors of one LoRA that adds what the shifts add together.

    Each site's factors are balanced and cut to the true rank of the sum, which is never formed
    densely. All sites are padded with zeros to one rank, and alpha is that rank (a scale of one):
    loaders disagree on files whose ranks or alphas differ from site to site.

    Args:
        shifts: Pairs of a shift and its strength (dimensionless).
        names: Naming convention of the U-Net's modules.
        base: Site to pristine weight; see `needs_base`.

    Returns:
        Name to float32 tensor: down ``(rank, d_in)``, up ``(d_out, rank)`` and, for kohya, a
        scalar alpha per site.

    Raises:
        LedgerError: If there is no shift.
        BaseMismatch: If a shift does not fit the weights of ``base``.
        MethodError: If a shift has no low-rank form, or needs ``base``.
    """
    if not shifts:
        raise LedgerError("there is nothing to export: no shift is active. Erase a concept first.")
    terms: dict[str, list[LowRank]] = {}
    for shift, strength in shifts:
        shift.require_weights()
        for site in shift.payload.sites:
            left, right = _low_rank(shift, site, base or {})
            terms.setdefault(site, []).append(LowRank(strength * left.double(), right))
    factors = {site: compress(terms[site]) for site in sorted(terms)}
    rank = max(1, *(len(factor.right) for factor in factors.values()))
    tensors: dict[str, Tensor] = {}
    for site, factor in factors.items():
        tensors |= _named(site, _padded(factor, rank), names)
    return tensors


def needs_base(shifts: Weighted) -> bool:
    """Whether a LoRA of the shifts can be made with the base model's weights only.

    Args:
        shifts: As for `lora_state_dict`.

    Returns:
        True if a shift is a map of text space, which every site takes part in its own way.
    """
    return any(isinstance(shift.payload, TextShift) for shift, _ in shifts)


def lora_metadata(
    shifts: Weighted,
    *,
    rank: int,
    architecture: Architecture = "sd1",
    title: str | None = None,
    clip_skip: int = 1,
) -> dict[str, str]:
    """Metadata that tools read (ModelSpec 1.0.1, kohya) and what is needed to trace the file.

    Args:
        shifts: Pairs of a shift and its strength.
        rank: Rank of every site.
        architecture: Family of the base model.
        title: Name shown to people; None makes one from the concepts.
        clip_skip: Layer of the text encoder, from the end, that the shifts were fitted with; 1 is
            the last.

    Returns:
        Strings by name, as safetensors requires.
    """
    spec, kohya = _ARCHITECTURES[architecture]
    title = title or f"sepme: without {', '.join(shift.name for shift, _ in shifts)}"
    concepts = [concept.to_dict() for shift, _ in shifts for concept in shift.concepts]
    live = [{"digest": shift.digest, "strength": strength} for shift, strength in shifts]
    return {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{spec}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": title,
        "modelspec.tags": "concept-erasure",
        "modelspec.encoder_layer": str(clip_skip),
        "ss_v2": str(architecture.startswith("sd2")),
        "ss_base_model_version": kohya,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(float(rank)),
        "ss_network_args": "{}",
        "ss_output_name": title,
        "sepme.spec": SPEC,
        "sepme.base": shifts[0][0].provenance.base,
        "sepme.concepts": canonical_json(concepts),
        "sepme.shifts": canonical_json(live),
        "sepme.provenance": canonical_json([shift.provenance.to_dict() for shift, _ in shifts]),
    }


def save_lora(
    path: str | Path,
    shifts: Weighted,
    *,
    names: Names = "kohya",
    architecture: Architecture = "sd1",
    title: str | None = None,
    clip_skip: int = 1,
    base: Mapping[str, Tensor] | None = None,
) -> None:
    """Write shifts as one LoRA file, in one step.

    Args:
        path: The file; replaced if it exists. Its folder must exist.
        shifts: As for `lora_state_dict`.
        names: As for `lora_state_dict`.
        architecture: As for `lora_metadata`.
        title: As for `lora_metadata`.
        clip_skip: As for `lora_metadata`.
        base: As for `lora_state_dict`.

    Raises:
        LedgerError: If there is no shift.
        BaseMismatch: If a shift does not fit the weights of ``base``.
        MethodError: If a shift has no low-rank form, or needs ``base``.
        ShiftFileError: If the file cannot be written; an old file is then intact.
    """
    tensors = lora_state_dict(shifts, names=names, base=base)
    rank = next(len(tensor) for name, tensor in tensors.items() if name.endswith(_DOWN))
    metadata = lora_metadata(
        shifts, rank=rank, architecture=architecture, title=title, clip_skip=clip_skip
    )
    digest = _content_digest(safetensors.torch.save(tensors))
    metadata |= {"modelspec.hash_sha256": f"0x{digest}", "sshs_model_hash": digest}
    try:
        write_atomic(Path(path), safetensors.torch.save(tensors, metadata=metadata))
    except OSError as error:
        raise ShiftFileError(f"cannot write {path}: {error.strerror}.") from error


def _low_rank(shift: ConceptShift, site: str, base: Mapping[str, Tensor]) -> LowRank:
    if isinstance(shift.payload, FactorShift | SiteShift):
        return shift.payload.low_rank(site)
    if not isinstance(shift.payload, TextShift):
        raise MethodError(
            f"shift {shift.name!r} has a {shift.payload.kind!r} payload, which has no exact "
            "low-rank form. Export a checkpoint instead."
        )
    if site not in base:
        raise MethodError(
            f"shift {shift.name!r} is a map of text space, so its LoRA depends on the pristine "
            f"weight of {site!r}, which was not given. Pass the base model's sites."
        )
    return shift.payload.low_rank(site, base[site])


def _named(site: str, factor: LowRank, names: Names) -> dict[str, Tensor]:
    if names == "peft":
        module = f"unet.{site}"
        return {f"{module}.lora_A.weight": factor.right, f"{module}.lora_B.weight": factor.left}
    module = f"lora_unet_{site.replace('.', '_')}"
    return {
        f"{module}.lora_down.weight": factor.right,
        f"{module}.lora_up.weight": factor.left,
        f"{module}.alpha": torch.tensor(float(len(factor.right))),
    }


def _padded(factor: LowRank, rank: int) -> LowRank:
    missing = rank - len(factor.right)
    left = torch.nn.functional.pad(factor.left, (0, missing))
    right = torch.nn.functional.pad(factor.right, (0, 0, 0, missing))
    return LowRank(left.float().contiguous(), right.float().contiguous())


def _content_digest(file: bytes) -> str:
    """SHA-256 of what follows a safetensors header."""
    start = 8 + int.from_bytes(file[:8], "little")
    return hashlib.sha256(memoryview(file)[start:]).hexdigest()
