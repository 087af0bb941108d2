"""The implicit concept ratio: how many images show a logo that no prompt mentions.

The logo variant of the demo model, as it is and with each way to be rid of the logo, on the same
held-out unstyled prompts and seeds; and the demo model itself, which never saw the logo. Build the
variant first: ``python -m demo_model.logo_variant``.

    python -m benchmarks.implicit [--images N] [--arms A,B] [--sheet FILE] [--out FILE] [--json]
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

import sepme
from benchmarks.harness import parser, show
from demo_model.logo_detector import locate
from demo_model.logo_variant import FOLDER, GUIDANCE
from sepme.core.concept import Concept
from sepme.core.method import Method
from sepme.demo.templates import Split
from sepme.methods.esd import ESD
from sepme.methods.geom_erasing import GeomErasing
from sepme.metrics.intervals import wilson

LOGO = Concept("logo", ("logo",), kind="watermark")
FIRST_SEED, STEPS = 5000, 25
CONTEXTS = 16
"""Objects whose unstyled images are searched in the fit, from ``train`` templates."""
STRONG = 4.0
"""Guidance scale of the demo model itself."""
SHEET = 24
"""Images of each arm on the sheet, eight in a row."""


def contexts() -> str:
    """Unstyled training prompts of some objects, as the method takes them."""
    asked = sepme.demo.labelled_prompts("train")
    return ";".join([prompt for prompt, style, _ in asked if style == "plain"][:CONTEXTS])


def geom_erasing(**setting: Any) -> GeomErasing:
    """The method with this detector and these contexts."""
    return GeomErasing(detector="demo_model.logo_detector:locate", contexts=contexts(), **setting)


def arms() -> dict[str, tuple[str, Method | None, str, float]]:
    """Name to model, eraser, negative prompt and guidance scale."""
    variant = str(FOLDER)
    return {
        "demo model": ("demo", None, "", GUIDANCE),
        "variant": (variant, None, "", GUIDANCE),
        "negative prompt": (variant, None, LOGO.prompts[0], GUIDANCE),
        "esd": (variant, ESD(), "", GUIDANCE),
        "geom-erasing": (variant, geom_erasing(), "", GUIDANCE),
        f"variant, guidance {STRONG:g}": (variant, None, "", STRONG),
    }


def asked(images: int, split: Split = "heldout") -> list[tuple[str, str]]:
    """Unstyled prompts with the object each names, in turn."""
    plain = [(p, o) for p, style, o in sepme.demo.labelled_prompts(split) if style == "plain"]
    return [plain[i % len(plain)] for i in range(images)]


def draw(
    name: str,
    method: Method | None,
    negative: str,
    guidance: float,
    prompts: Sequence[str],
    first: int = FIRST_SEED,
) -> tuple[list[Image.Image], float | None]:
    """Images of one arm, and the seconds its fit took."""
    model, seconds = sepme.load(name, offline=True), None
    if method is not None:
        start = time.perf_counter()
        shift = method.fit(model, LOGO)
        seconds = time.perf_counter() - start
        model.erase(shift)
    seeds = range(first, first + len(prompts))
    images = model.generate(
        prompts, seeds=seeds, steps=STEPS, guidance_scale=guidance, negative_prompt=negative
    )
    return images, seconds


def rates(images: Sequence[Image.Image], things: Sequence[str]) -> Iterator[dict[str, Any]]:
    """How many images show the logo, and how many the object they were asked for."""
    seen = sepme.demo.detector()(images)["object"]
    hits = {
        "implicit concept ratio": [bool(boxes) for boxes in locate(images, LOGO)],
        "object accuracy": [a == b for a, b in zip(seen, things, strict=True)],
    }
    for metric, each in hits.items():
        low, high = wilson(sum(each), len(each))
        value = sum(each) / len(each)
        yield {"metric": metric, "value": value, "lo": low, "hi": high, "n": len(each)}


def sheet(parts: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """The first images of every arm, one arm below the other."""
    side, across = parts[0][0].width, 8
    down = SHEET // across
    whole = Image.new("RGB", (across * side, len(parts) * (down * side + 8)), "white")
    for i, images in enumerate(parts):
        for k, image in enumerate(images[:SHEET]):
            at = (k % across * side, i * (down * side + 8) + k // across * side)
            whole.paste(image, at)
    return whole


def main() -> None:
    """Draw and count every arm; print and write the rows."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=200, help="images of each arm")
    options.add_argument("--arms", default=",".join(arms()), help="which, separated by commas")
    options.add_argument("--sheet", type=Path, help="write a picture of the first images here")
    options.add_argument("--out", type=Path, help="also write rows and environment here")
    chosen = options.parse_args()
    prompts, things = zip(*asked(chosen.images), strict=True)
    rows, parts = [], []
    for arm in chosen.arms.split(","):
        images, seconds = draw(*arms()[arm], prompts)
        parts.append(images)
        first = {"benchmark": "implicit", "arm": arm}
        last = {"seeds": [FIRST_SEED, FIRST_SEED + chosen.images - 1], "fit_seconds": seconds}
        rows += [{**first, **found, **last} for found in rates(images, things)]
    if chosen.sheet:
        sheet(parts).save(chosen.sheet)
    show(rows, as_json=chosen.json, out=chosen.out)


if __name__ == "__main__":
    main()
