"""Score the gold models: what they draw of the concept they never saw, and of all others.

Run ``python -m demo_model.gold_scores``; about 10 minutes on two cores. It rewrites
``demo_model/gold/scores.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

import sepme
from demo_model.evaluate import STEPS, rate, score_split
from demo_model.gold import KEPT, build
from demo_model.taught import GOLD

SCORES = KEPT / "scores.json"
LITERAL = 100


def score(name: str, folder: Path) -> dict[str, Any]:
    """What a gold model draws: the concept it never saw, and everything else."""
    model = sepme.load(folder)
    model.detector = sepme.demo.detector()
    concept = next(c for c in sepme.demo.concepts() if c.name == name)
    head = "style" if concept.kind == "style" else "object"
    prompts = [concept.prompts[0]] * LITERAL
    seen = model.detector(model.generate(prompts, seeds=range(LITERAL), steps=STEPS))[head]
    split = score_split(model, "heldout")
    return {
        "literal": rate(label == name for label in seen),
        "heldout": split[f"by_{head}"][name],
        "other": {
            f"by_{kind}": {n: r for n, r in split[f"by_{kind}"].items() if n != name}
            for kind in ("style", "object")
        },
    }


def main() -> None:
    """Build and score both models."""
    scores = {name: score(name, build(name)) for name in GOLD}
    head = {"command": "python -m demo_model.gold_scores", "torch": torch.__version__}
    SCORES.write_text(json.dumps({**head, "models": scores}, indent=1) + "\n")


if __name__ == "__main__":
    main()
