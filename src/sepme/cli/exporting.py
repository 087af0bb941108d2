"""``sepme export``: files that other programs load."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sepme.cli._app import DEMO, MAIN, LedgerFolder, Model, Run, command
from sepme.errors import LedgerError
from sepme.io.checkpoint import check_unused, save_checkpoint
from sepme.io.ledger_dir import LedgerDir

if TYPE_CHECKING:
    from torch import Tensor

    from sepme.core.payload import Payload
    from sepme.core.shift import ConceptShift
    from sepme.io.lora import Architecture

Format = Literal["diffusers-lora", "kohya", "checkpoint"]
_LORA_NAME = "pytorch_lora_weights.safetensors"
_ARCHITECTURES: dict[int, Architecture] = {1024: "sd2", 2048: "sdxl"}  # by width of the text
_SIDECAR = "sepme.json"


@command(panel=MAIN)
def export(
    run: Run,
    ledger: LedgerFolder,
    out: Annotated[
        Path, typer.Option("--out", metavar="PATH", help="A new file, or a new folder.")
    ],
    format: Annotated[Format, typer.Option("--format", help="What to write.")] = "diffusers-lora",
    concept: Annotated[
        list[str] | None,
        typer.Option("--concept", metavar="NAME", help="Only this; repeat for more."),
    ] = None,
    model: Model = None,
) -> None:
    """Write what is erased as a LoRA file or a whole checkpoint.

    The LoRA formats are the same file: it loads in diffusers (pipe.load_lora_weights), ComfyUI
    and A1111.
    """
    directory = LedgerDir(ledger)
    lora = format != "checkpoint"
    path = out if not lora or out.suffix == ".safetensors" else out / _LORA_NAME
    check_unused(path)
    shifts = _shifts(directory, concept or ())
    if lora:
        _write_lora(run, path, shifts, model or directory.model)
    else:
        _write_checkpoint(run, path, shifts, model or directory.model)
    names = [shift.name for shift, _ in shifts]
    data = {
        "format": format,
        "path": str(path),
        "concepts": names,
        "digest": directory.ledger.digest,
    }
    use = f'pipe.load_lora_weights("{path.parent}", weight_name="{path.name}")'
    use = use if lora else f'DiffusionPipeline.from_pretrained("{path}")'
    run.screen.result(data, f"Wrote {path}, which erases {', '.join(names)}.\nUse it: {use}")


def _shifts(directory: LedgerDir, names: Sequence[str]) -> list[tuple[ConceptShift, float]]:
    entries = [directory.ledger.entry(name) for name in names] or directory.ledger.active
    if not entries:
        raise LedgerError("there is nothing to export: no concept is erased. Erase one first.")
    distinct = {entry.name: entry for entry in entries}
    return [(directory.shift(name), entry.strength) for name, entry in sorted(distinct.items())]


def _write_lora(
    run: Run, path: Path, shifts: list[tuple[ConceptShift, float]], source: str
) -> None:
    from sepme.io.lora import needs_base, save_lora

    architecture = _ARCHITECTURES.get(_text_width(shifts[0][0].payload), "sd1")
    base = _base(run, shifts, source) if needs_base(shifts) else None
    path.parent.mkdir(parents=True, exist_ok=True)
    save_lora(
        path,
        shifts,
        names="kohya",
        architecture=architecture,
        clip_skip=2 if architecture == "sdxl" else 1,  # it reads the last layer but one
        base=base,
    )


def _text_width(payload: Payload) -> int:
    """Width of the text embeddings a payload's sites read; 0 if none of them reads the text."""
    from sepme.core.backend import CROSS_ATTN_KV
    from sepme.core.factor_shift import FactorShift
    from sepme.core.payload import SiteShift
    from sepme.core.text_shift import TextShift

    if isinstance(payload, SiteShift):
        return payload.directions.shape[1]
    if isinstance(payload, TextShift):
        return payload.right.shape[1]
    if isinstance(payload, FactorShift):
        text = [site for site in payload.sites if re.fullmatch(CROSS_ATTN_KV, site)]
        return payload.right[text[0]].shape[1] if text else 0
    return 0


def _base(run: Run, shifts: list[tuple[ConceptShift, float]], source: str) -> Mapping[str, Tensor]:
    """Pristine weights of the model the shifts were fitted on."""
    model = run.load(source)
    for shift, _ in shifts:
        model.ledger.erase(shift, allow_interference=True)  # raises if it is another model
    return model.sites()


def _write_checkpoint(
    run: Run, path: Path, shifts: list[tuple[ConceptShift, float]], source: str
) -> None:
    pipeline = run.load(source)
    for shift, strength in shifts:
        pipeline.erase(shift, strength=strength, allow_interference=True)
    run.screen.say(f"writing {path} ...")
    sidecar = _folder(source) / _SIDECAR
    extra = {_SIDECAR: sidecar.read_bytes()} if sidecar.is_file() else {}
    save_checkpoint(path, pipeline.pipeline, shifts, model=source, extra=extra)


def _folder(source: str) -> Path:
    if source != DEMO:
        return Path(source)
    from sepme import demo

    return demo.weights()
