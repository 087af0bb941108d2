"""The before-and-after picture of the quickstart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sepme.cli._app import DEMO, Run
from sepme.io.ledger_dir import LedgerDir

if TYPE_CHECKING:
    from PIL.Image import Image

    from sepme.pipeline import ErasedPipeline

_THING = "cat"
_SEED = 7
_TILE, _GAP, _LABEL, _HEAD = 128, 6, 190, 30
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


def before_after(
    run: Run, folder: Path, picture: Path, *, erased: Sequence[str], restored: str, retained: str
) -> tuple[float, ErasedPipeline]:
    """Give one concept back and draw the same seeds before, between and after.

    Args:
        run: The common flags.
        folder: The ledger.
        picture: Where the grid goes.
        erased: Demo styles that are erased.
        restored: The one of them to give back.
        retained: A demo style that was never touched.

    Returns:
        Seconds the restoring took, and the model with the ledger open.
    """
    from sepme import demo

    phrases = {concept.name: concept.prompts[0] for concept in demo.concepts()}
    styles = [*erased, retained]
    prompts = [f"a {_THING} in the style of {phrases[style]}" for style in styles]
    prompts.append(f"a picture of a {_THING}")
    seeds = [_SEED] * len(prompts)
    model = run.load(DEMO, ledger=folder)
    with model.restored(*model.erased):
        rows = {"original": model.generate(prompts, seeds=seeds)}
    rows["three styles erased"] = model.generate(prompts, seeds=seeds)
    start = time.perf_counter()
    LedgerDir(folder).restore(restored, reason="quickstart")
    model.open(folder)
    seconds = time.perf_counter() - start
    rows[f"{restored} restored"] = model.generate(prompts, seeds=seeds)
    grid(rows, [*styles, "no style named"]).save(picture)
    return seconds, model


def grid(rows: dict[str, list[Image]], heads: Sequence[str]) -> Image:
    """Labelled rows of pictures.

    Args:
        rows: Label to pictures, as many as there are heads.
        heads: Labels of the columns.
    """
    from PIL import Image, ImageDraw, ImageFont

    step = _TILE + _GAP
    size = (_LABEL + step * len(heads), _HEAD + step * len(rows))
    sheet = Image.new("RGB", size, _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, head in enumerate(heads):
        middle = _LABEL + column * step + _TILE // 2
        draw.text((middle, _HEAD // 2), head, fill=_INK, font=font, anchor="mm")
    for line, (label, images) in enumerate(rows.items()):
        top = _HEAD + line * step
        draw.text((_GAP * 2, top + _TILE // 2), label, fill=_INK, font=font, anchor="lm")
        for column, image in enumerate(images):
            tile = image.resize((_TILE, _TILE), Image.Resampling.LANCZOS)
            sheet.paste(tile, (_LABEL + column * step, top))
    return sheet
