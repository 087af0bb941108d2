"""Find the demo preset of geom-erasing: every setting of a grid, judged on ``train`` templates.

Each setting of ``benchmarks/grids/geom-erasing.yaml`` erases the logo of the logo variant, as in
``benchmarks.implicit``; no held-out template is looked at. Build the variant first:
``python -m demo_model.logo_variant``.

    python -m benchmarks.implicit_sweep [--images N]
"""

from __future__ import annotations

import json
from dataclasses import asdict
from statistics import harmonic_mean
from typing import Any

import sepme
from benchmarks.harness import environment, parser
from benchmarks.implicit import FOLDER, GUIDANCE, asked, draw, geom_erasing, rates
from benchmarks.sweep import GRIDS, OUT, TOLERATED, settings

FIRST_SEED = 9000
"""Of the images; the benchmark's own begin elsewhere."""
RULE = (
    "The harmonic mean of the images without the logo and of what is kept, 1 - the loss of object "
    f"accuracy against the variant, of which {100 * TOLERATED:.0f} points count as nothing."
)


def tried(setting: dict[str, Any] | None, images: int) -> dict[str, Any]:
    """What is seen with a setting; None for the variant as it is."""
    prompts, things = zip(*asked(images, "train"), strict=True)
    method = None if setting is None else geom_erasing(**setting)
    drawn, seconds = draw(str(FOLDER), method, "", GUIDANCE, prompts, FIRST_SEED)
    found = {row["metric"]: row for row in rates(drawn, things)}
    return {
        "setting": setting,
        "figures": {name: {k: row[k] for k in ("value", "n")} for name, row in found.items()},
        "seconds_per_fit": seconds,
    }


def score(record: dict[str, Any], original: dict[str, Any]) -> float:
    """What the rule sorts by, best last."""
    now, before = (each["figures"] for each in (record, original))
    lost = before["object accuracy"]["value"] - now["object accuracy"]["value"]
    kept = 1 - max(0.0, lost - TOLERATED)
    return harmonic_mean([1 - now["implicit concept ratio"]["value"], kept])


def main() -> None:
    """Sweep, write every setting, print a line for each and the best."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=96, help="images of each setting")
    images = options.parse_args().images
    original, records = tried(None, images), []
    for setting in settings(GRIDS / "geom-erasing.yaml"):
        records.append(tried(setting, images))
        print(json.dumps(records[-1]), flush=True)
    best = max(records, key=lambda record: score(record, original))
    preset = sepme.load(str(FOLDER), offline=True).presets.get("geom-erasing", {})
    resolved = asdict(geom_erasing(**best["setting"]).resolve(preset))
    written = {
        "command": f"python -m benchmarks.implicit_sweep --images {images}",
        "method": "geom-erasing",
        "split": "train",
        "rule": RULE,
        "seeds": [FIRST_SEED, FIRST_SEED + images - 1],
        "preset": dict(preset),
        "chosen": {"setting": best["setting"], "resolved": resolved},
        "original": original,
        "settings": records,
        "environment": environment(),
    }
    path = OUT / "geom-erasing.json"
    path.write_text(json.dumps(written, indent=1, allow_nan=False) + "\n")
    print(f"chosen: {json.dumps(best['setting'])}")


if __name__ == "__main__":
    main()
