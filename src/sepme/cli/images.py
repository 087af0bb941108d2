"""``sepme generate``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sepme.cli._app import DEMO, LOOK, Model, Run, Seed, command
from sepme.cli._ledger import existing_ledger
from sepme.errors import SpecError

if TYPE_CHECKING:
    from PIL.Image import Image

_MAX_SLUG = 60


@command(panel=LOOK)
def generate(
    run: Run,
    prompts: Annotated[
        list[str], typer.Argument(metavar="PROMPT", help="One picture each.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the PNGs go.")] = Path(),
    ledger: Annotated[
        Path | None,
        typer.Option("--ledger", metavar="DIR", help="Draw without what this ledger erases."),
    ] = None,
    model: Model = None,
    seed: Seed = 0,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=1, help="DDIM steps.")] = 25,
) -> None:
    """Draw pictures with the model as the ledger leaves it, each prompt from the same seed."""
    held = existing_ledger(ledger, required=True) if ledger else None
    source = model or (held.model if held else DEMO)
    if out.exists() and not out.is_dir():
        raise SpecError(f"{out} is a file; --out expects a folder.")
    pipeline = run.load(source, ledger=ledger)
    run.screen.say(f"drawing {len(prompts)} ...")
    images = pipeline.generate(prompts, seeds=[seed] * len(prompts), steps=steps)
    digest = pipeline.ledger.digest
    facts = {"seed": str(seed), "steps": str(steps), "model": source, "ledger": digest}
    paths = write_images(images, prompts, out, facts)
    rows = [{"prompt": p, "file": str(path)} for p, path in zip(prompts, paths, strict=True)]
    data = {
        "images": rows,
        "erased": pipeline.erased,
        "ledger": digest,
        "seed": seed,
        "steps": steps,
    }
    run.screen.result(data, *map(str, paths))


def write_images(
    images: list[Image], prompts: list[str], folder: Path, facts: Mapping[str, str]
) -> list[Path]:
    """Write PNGs that say how they were made, numbered on from what is there."""
    from PIL.PngImagePlugin import PngInfo

    folder.mkdir(parents=True, exist_ok=True)
    taken = [int(match[1]) for p in folder.iterdir() if (match := re.match(r"(\d{3,})-", p.name))]
    paths = []
    for number, (image, prompt) in enumerate(
        zip(images, prompts, strict=True), max(taken, default=-1) + 1
    ):
        info = PngInfo()
        for key, value in {"prompt": prompt, **facts, "software": "sepme"}.items():
            info.add_itxt(key, value)
        paths.append(folder / f"{number:03d}-{slug(prompt)}.png")
        image.save(paths[-1], pnginfo=info)
    return paths


def slug(prompt: str) -> str:
    """A short file name made from a prompt.

    Args:
        prompt: Any text.

    Example:
        >>> slug("A cat, by Van Gogh!"), slug("猫")
        ('a-cat-by-van-gogh', 'prompt')
    """
    plain = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_MAX_SLUG].rstrip("-") or "prompt"
