"""Where erasing stops to work: erased accuracy against separability, on ``train`` templates.

Each style is erased while more and more is retained: other styles, objects, and in the end prompts
that name the style itself. Separability falls on the way; the figures tell below which value a
concept is no longer forgotten, which is what ``sepme.plan.MIN_SEPARABILITY`` stands for.

    python benchmarks/separability.py [--images N] [--out FILE] [--json]
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import parser, show

import sepme
from sepme.core.concept import Concept
from sepme.errors import NotSeparable, NullSpaceExhausted
from sepme.metrics import wilson
from sepme.plan import plan

TARGETS = ("van-gogh", "hokusai", "fluent")
OBJECTS = (0, 2, 4, 8, 16, 32)
OWN = (1, 2, 4, 8)
METHOD = sepme.SepME(decorrelate="batch", scale=3e-2, threshold=-2e-3)
"""The paper's loss: its stop is that of the paper."""


def ladders(target: Concept) -> Iterator[tuple[str, tuple[Concept, ...]]]:
    """What to retain, from nothing to prompts that name the target itself."""
    taught = sepme.demo.concepts()
    styles = tuple(c for c in taught if c.kind == "style" and c.name != target.name)
    objects = tuple(c for c in taught if c.kind == "object")
    for count in OBJECTS:
        yield f"{count} objects", objects[:count]
    yield "all styles", styles
    for count in OWN:
        prompts = tuple(sepme.demo.prompts(target, "train")[:count])
        yield f"{count} prompts that name it", (Concept("own", prompts),)


def seen(model: sepme.ErasedPipeline, target: Concept, images: int) -> list[bool]:
    """Whether the detector sees the target in images of its own prompts and of templates."""
    prompts = [*target.prompts * images, *sepme.demo.prompts(target, "train")[-images:]]
    drawn = model.generate(prompts, seeds=range(800_000, 800_000 + len(prompts)))
    return [label == target.name for label in model.detector(drawn)[target.kind]]


def measure(model: sepme.ErasedPipeline, target: Concept, images: int) -> Iterator[dict[str, Any]]:
    """One row for every set of retained concepts."""
    for what, retain in ladders(target):
        found = plan(model, [target], retain=retain).rows[0]
        row = {"concept": target.name, "retained": what, "rank": found.rank, "free": found.free}
        row["separability"] = found.separability
        try:
            shift = METHOD.fit(model, target, retain=retain)
        except (NotSeparable, NullSpaceExhausted) as error:
            yield {**row, "erased_accuracy": None, "refused": type(error).__name__}
            continue
        model.erase(shift)
        hits = seen(model, target, images)
        model.restore(target.name)
        low, high = wilson(sum(hits), len(hits))
        row |= {"erased_accuracy": sum(hits) / len(hits), "n": len(hits), "lo": low, "hi": high}
        yield row | {"stopped": shift.provenance.fit["stopped"]}


def main() -> None:
    """Measure every target, print, and write the rows to a file."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=24, help="images of each of two kinds")
    options.add_argument("--out", type=Path, help="also write rows and environment here")
    chosen = options.parse_args()
    model = sepme.load("demo")
    taught = {concept.name: concept for concept in sepme.demo.concepts()}
    rows = [row for name in TARGETS for row in measure(model, taught[name], chosen.images)]
    show(rows, as_json=chosen.json, out=chosen.out)


if __name__ == "__main__":
    main()
