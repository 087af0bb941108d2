"""Score the shipped demo model and draw its contact sheet.

Run ``python -m demo_model.evaluate``; about 12 minutes on two cores. It rewrites
``demo_model/scores.json`` and ``docs/images/contact-sheet.png``.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from tqdm.auto import tqdm

import sepme
from demo_model import HERE, IMAGE_SIZE
from demo_model.card import write_card
from demo_model.package import SHIPPED
from sepme.demo.templates import Split, fill
from sepme.metrics import wilson

SCORES = HERE / "scores.json"
SHEET = HERE.parent / "docs" / "images" / "contact-sheet.png"
SEEDS, STEPS = 2, 25
SHEET_OBJECTS = (
    "cat", "owl", "lion", "butterfly", "house", "rocket", "bicycle", "pizza", "sunflower",
    "guitar", "crown", "snowman",
)  # fmt: skip

Score = dict[str, float]


def rate(hits: Iterable[bool]) -> Score:
    """Share of hits with n and its Wilson 95 % interval."""
    counted = list(hits)
    low, high = wilson(sum(counted), len(counted))
    return {"value": sum(counted) / len(counted), "n": len(counted), "lo": low, "hi": high}


def score_split(model: sepme.ErasedPipeline, split: Split) -> dict[str, Score | dict[str, Score]]:
    """Style and object accuracy over every style and object, ``SEEDS`` images a pair."""
    style_hits, object_hits = defaultdict(list), defaultdict(list)
    asked = sepme.demo.labelled_prompts(split) * SEEDS
    for start in tqdm(range(0, len(asked), 16), desc=split):
        chunk = asked[start : start + 16]
        seeds = list(range(start, start + len(chunk)))
        seen = model.detector(model.generate([p for p, _, _ in chunk], seeds=seeds, steps=STEPS))
        for (_, style, thing), s, o in zip(chunk, seen["style"], seen["object"], strict=True):
            style_hits[style].append(s == style)
            object_hits[thing].append(o == thing)
    return {
        "style_accuracy": rate(h for hits in style_hits.values() for h in hits),
        "object_accuracy": rate(h for hits in object_hits.values() for h in hits),
        "by_style": {name: rate(hits) for name, hits in style_hits.items()},
        "by_object": {name: rate(hits) for name, hits in sorted(object_hits.items())},
    }


def score_watermarks(model: sepme.ErasedPipeline, count: int = 100) -> dict[str, Score]:
    """Share of images of each watermark prompt in which the detector sees its logo."""
    return {
        c.name: rate(
            name == c.name
            for name in model.detector(
                model.generate(c.prompts * count, seeds=range(count), steps=STEPS)
            )["object"]
        )
        for c in sepme.demo.concepts()
        if c.kind == "watermark"
    }


def seconds_for_sixteen(model: sepme.ErasedPipeline, repeats: int = 5) -> float:
    """Median time to draw 16 images."""
    prompts = [prompt for prompt, _, _ in sepme.demo.labelled_prompts()[:16]]
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        model.generate(prompts, seeds=range(16), steps=STEPS)
        times.append(time.perf_counter() - start)
    return sorted(times)[repeats // 2]


def contact_sheet(model: sepme.ErasedPipeline, path: Path) -> None:
    """Objects in rows, styles in columns, one seed for all."""
    styles = [None, *(c for c in sepme.demo.concepts() if c.kind == "style")]
    left, top, gap = 74, 18, 2
    cell = IMAGE_SIZE + gap
    size = (left + cell * len(styles), top + cell * len(SHEET_OBJECTS))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for row, name in enumerate(SHEET_OBJECTS):
        prompts = [
            fill("a {object} by {style}", style=s.prompts[0], object=name)
            if s
            else fill("a {object}", object=name)
            for s in styles
        ]
        pen.text((4, top + row * cell + 26), name, fill="black")
        for column, image in enumerate(model.generate(prompts, seeds=[row] * len(styles))):
            sheet.paste(image, (left + column * cell, top + row * cell))
    for column, style in enumerate(styles):
        label = style.prompts[0] if style else "(no style)"
        pen.text((left + column * cell + 2, 3), label, fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


def main() -> None:
    """Score both splits and the watermarks, time sixteen images, draw the sheet."""
    model = sepme.load("demo")
    scores = {
        "command": "python -m demo_model.evaluate",
        "images_per_pair": SEEDS,
        "steps": STEPS,
        "base": model.fingerprint,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "splits": {split: score_split(model, split) for split in ("train", "heldout")},
        "watermarks": score_watermarks(model),
        "seconds_for_16_images": seconds_for_sixteen(model),
    }
    SCORES.write_text(json.dumps(scores, indent=1) + "\n")
    names = defaultdict(list)
    for concept in sepme.demo.concepts():
        names[concept.kind].append(concept.prompts[0])
    (SHIPPED / "README.md").write_text(write_card(scores, names))
    contact_sheet(model, SHEET)


if __name__ == "__main__":
    main()
