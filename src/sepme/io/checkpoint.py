"""A whole pipeline on disk with some concepts erased, and its card; needs no torch itself."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from sepme.errors import LedgerError
from sepme.io.atomic import TEMPORARY_SUFFIX, sync_folder

if TYPE_CHECKING:
    from sepme.core.shift import ConceptShift

CARD_NAME = "README.md"

_LEAK = """- Single weights were set to other values. Their positions tell what was erased, and
  help to revive it (https://arxiv.org/abs/2603.06640).
"""


class Saveable(Protocol):
    """A diffusers pipeline, as far as this module is concerned."""

    def save_pretrained(self, save_directory: Path, *, safe_serialization: bool) -> object:
        """Write every component below a folder."""


def save_checkpoint(
    path: str | Path,
    pipeline: Saveable,
    shifts: Sequence[tuple[ConceptShift, float]],
    *,
    model: str,
    extra: Mapping[str, bytes] | None = None,
) -> None:
    """Write a pipeline whose live weights have concepts erased, in one step.

    Args:
        path: A folder that does not exist or is empty.
        pipeline: The pipeline, with the live weights.
        shifts: The active shifts and their strengths, for the card.
        model: Where the base model was loaded from, for the card.
        extra: More files, by name.

    Raises:
        MethodError: If a shift is a guard.
        LedgerError: If there is no shift, the folder is in use or cannot be written; nothing is
            left behind then.
    """
    for shift, _ in shifts:
        shift.require_weights()
    path = Path(path)
    check_unused(path)
    files = {CARD_NAME: card(shifts, model=model).encode(), **(extra or {})}
    temporary = path.with_name(f".{path.name}.{uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        temporary.mkdir(parents=True)
        pipeline.save_pretrained(temporary, safe_serialization=True)
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        if path.exists():
            path.rmdir()
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise LedgerError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_unused(path: Path) -> None:
    """Refuse a path that an export would overwrite.

    Args:
        path: A file or a folder.

    Raises:
        LedgerError: If there is a file, or a folder with something in it.
    """
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        raise LedgerError(f"{path} exists already. Choose another --out, or delete it first.")


def card(shifts: Sequence[tuple[ConceptShift, float]], *, model: str) -> str:
    """Markdown that tells the next person what was erased, from what, and what that means.

    Args:
        shifts: The shifts and their strengths.
        model: Where the base model was loaded from.

    Returns:
        The card.

    Raises:
        LedgerError: If there is no shift.
    """
    if not shifts:
        raise LedgerError("there is nothing to export: no shift is active. Erase a concept first.")
    rows = "\n".join(
        f"| {shift.name} | {_cell(shift)} | {shift.provenance.method} | {strength:g} | "
        f"{shift.provenance.seed} | `{shift.digest[:16]}` |"
        for shift, strength in shifts
    )
    names = ", ".join(shift.name for shift, _ in shifts)
    versions = ", ".join(f"{k} {v}" for k, v in sorted(shifts[0][0].provenance.versions.items()))
    return f"""---
library_name: diffusers
tags: [concept-erasure, sepme]
---

# Without {names}

Made by sepme from `{model}`, whose fingerprint is
`{shifts[0][0].provenance.base}`.
Its weights were changed so that it no longer draws what the listed prompts ask for.

| concept | prompts | method | strength | seed | shift |
|---|---|---|---|---|---|
{rows}

Fitted with {versions}.

## What this does not mean

- It suppresses generation. It does not delete training data, or what was learned from it, from the
  weights.
- Prompts worded differently, other languages, learned embeddings and further training may bring a
  concept back. How often was not measured in this file: run `sepme verify` on the ledger.
- Nothing can be restored from this checkpoint alone. The ledger and the original model can.
{_LEAK if any(shift.payload.kind == "sparse" for shift, _ in shifts) else ""}"""


def _cell(shift: ConceptShift) -> str:
    prompts = [prompt for concept in shift.concepts for prompt in concept.prompts]
    text = "; ".join(" ".join(prompt.split()) for prompt in prompts)
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`")
