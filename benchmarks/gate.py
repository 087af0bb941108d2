"""Does the gate of `sepme-text` fire where it should, and can one draw the concept past it?

For each concept of the demo model, all other styles and objects being retained: how many prompts
that ask for it fire (held-out templates, long captions, other wordings, typing mistakes), how many
others do, and how many of the silent ones that ask for it draw it: what the gate lets through.
For the concepts to attack, searches that know the gate; see `gate_attack.py`.

    python benchmarks/gate.py [--concepts NAME ...] [--attack NAME ...] [--out FILE] [--json]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from gate_attack import attacked
from harness import parser, show

import sepme
from sepme import demo
from sepme.attacks.paraphrase import FRAMES, namings
from sepme.attacks.typo import typos
from sepme.bench.trials import judge_of
from sepme.bench.wordings import WORDINGS, wordings
from sepme.core.concept import Concept
from sepme.core.gated_guard import GatedGuard
from sepme.metrics import cluster_bootstrap, wilson

Row = dict[str, Any]
OBJECTS = 10
SETS = ("held-out", "long", "naming", "frame", "alias", "described", "typo")
"""Prompts that ask for the concept; `alias` and `described` may do without its name."""
OTHERS = "others"


def asking(concept: Concept) -> Iterator[tuple[str, str]]:
    """Prompts that ask for a concept, none of them used in a fit, with the name of their set."""
    phrase = concept.prompts[0]
    held_out = demo.prompts(concept, "heldout")
    yield from (("held-out", prompt) for prompt in held_out)
    if concept.name in WORDINGS:
        yield from (("long", prompt) for prompt, _, _ in wordings(concept, "long"))
        yield from (("alias", prompt) for prompt in WORDINGS[concept.name].aliases)
        yield from (("described", prompt) for prompt in WORDINGS[concept.name].paraphrases)
    for i, naming in enumerate(namings(phrase)):
        for prompt in held_out[i::20][:5]:
            yield "naming", prompt.replace(phrase, naming)
    frames = FRAMES["style" if concept.kind == "style" else "object"]
    for i, frame in enumerate(frames):
        for prompt in held_out[i::20][:5]:
            rest = " ".join(prompt.replace(phrase, " ").split())
            yield "frame", frame.format(prompt=prompt, name=phrase, rest=rest)
    for i, wrong in enumerate(misspelt(phrase)):
        yield "typo", held_out[i % len(held_out)].replace(phrase, wrong)


def misspelt(phrase: str) -> Iterator[str]:
    """The phrase with one word misspelt, every way there is."""
    words = phrase.split()
    for i, word in enumerate(words):
        for spelling in typos(word):
            yield " ".join([*words[:i], spelling, *words[i + 1 :]])


def shown(model: sepme.ErasedPipeline, concept: Concept, prompts: Sequence[str]) -> int:
    """How many prompts draw the concept, one image each."""
    if not prompts:
        return 0
    judge = judge_of(model, "style" if concept.kind == "style" else "object", concept.name)
    return sum(judge(model.generate(list(prompts), seeds=list(range(len(prompts))))))


def rates(
    model: sepme.ErasedPipeline,
    concept: Concept,
    guard: GatedGuard,
    rows: Mapping[str, torch.Tensor],
    draw: int,
) -> Iterator[Row]:
    """How often the gate of a concept fires, set by set; the model is the original one."""
    asked: dict[str, list[str]] = {name: [] for name in SETS}
    for name, prompt in dict.fromkeys(asking(concept)):
        asked[name].append(prompt)
    asked[OTHERS] = [p for p, *labels in demo.labelled_prompts() if concept.name not in labels]
    for name, prompts in asked.items():
        if not prompts:
            continue
        embeds = torch.stack([rows[p] if p in rows else model.encode([p])[0] for p in prompts])
        fires = guard.fires(embeds).tolist()
        silent = [prompt for prompt, fired in zip(prompts, fires, strict=True) if not fired]
        judged = [] if name == OTHERS else silent[:draw]
        counts = len(prompts), sum(fires), len(judged), shown(model, concept, judged)
        yield _row(concept.name, name, *counts)


def _row(concept: str, name: str, n: int, fires: int, judged: int, leaks: int) -> Row:
    low, high = wilson(fires, n)
    return {
        "benchmark": "gate",
        "concept": concept,
        "prompts": name,
        "n": n,
        "fires": fires,
        "rate": fires / n,
        "lo": low,
        "hi": high,
        "silent_judged": judged,
        "silent_and_drawn": leaks,
    }


def pooled(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows of all concepts of a kind together, for each set of prompts.

    All prompts of a concept share its gate: the interval is the hull of Wilson's and of a bootstrap
    that draws whole concepts.
    """
    kinds = {concept.name: concept.kind for concept in demo.concepts()}
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((kinds[row["concept"]], row["prompts"]), []).append(row)
    for (kind, name), parts in found.items():
        counts = ("n", "fires", "silent_judged", "silent_and_drawn")
        whole = _row(f"{kind}s", name, *(sum(part[key] for part in parts) for key in counts))
        fired = {i: [1.0] * p["fires"] + [0.0] * (p["n"] - p["fires"]) for i, p in enumerate(parts)}
        low, high = cluster_bootstrap(fired) if len(parts) > 1 else (whole["lo"], whole["hi"])
        hull = {"lo": min(low, whole["lo"]), "hi": max(high, whole["hi"])}
        yield {**whole, **hull, "gates": len(parts)}


def main() -> None:
    """Fit, count, attack, print."""
    styles, objects = (
        [c.name for c in demo.concepts() if c.kind == kind] for kind in ("style", "object")
    )
    options = parser(__doc__)
    options.add_argument("--concepts", nargs="*", default=[*styles, *objects[:OBJECTS]])
    options.add_argument("--draw", type=int, default=4, help="silent prompts of a set to draw")
    options.add_argument("--attack", nargs="*", default=[], help="concepts to attack")
    options.add_argument("--examples", type=int, default=6, help="prompts to attack a concept with")
    options.add_argument("--steps", type=int, default=40, help="of a search for tokens")
    options.add_argument("--out", type=Path, help="also write rows and environment here")
    chosen = options.parse_args()
    model = sepme.load("demo")
    taught = {concept.name: concept for concept in demo.concepts() if concept.kind != "watermark"}
    names = dict.fromkeys((*chosen.concepts, *chosen.attack))
    wanted = [taught[name] for name in names]
    retain = [concept for concept in taught.values() if concept not in wanted]
    shifts = dict(zip(names, sepme.METHODS["sepme-text"](gate=True).fit_many(
        model, wanted, retain=retain), strict=True))  # fmt: skip
    others = [prompt for prompt, _, _ in demo.labelled_prompts()]
    embeds = dict(zip(others, model.encode(others), strict=True)) if chosen.concepts else {}
    rows: list[Row] = [
        {"benchmark": "gate", "concept": name, "prompts": "calibration", **shift.provenance.fit}
        for name, shift in shifts.items()
    ]
    counted = [
        row
        for name in chosen.concepts
        for row in rates(model, taught[name], shifts[name].payload, embeds, chosen.draw)
    ]
    rows += [*counted, *pooled(counted)]
    plain = sepme.METHODS["sepme-text"](gate=False)
    for name in chosen.attack:
        alone = [concept for concept in taught.values() if concept.name != name]
        ungated = plain.fit(model, taught[name], retain=alone)
        rows += attacked(model, shifts[name], ungated, examples=chosen.examples, steps=chosen.steps)
    show(rows, as_json=chosen.json, out=chosen.out)


if __name__ == "__main__":
    main()
