"""Choose styles and objects by what a detector confuses, before any generator is trained.

Two detectors are trained without one drawing of every object and asked about exactly those. The
first sees every candidate style (22 paintings, three vendor sets) and ranks styles by how often
they are mistaken for another or hide the object; from its ranking the nine below were taken: one
painting an artist, no two alike, two vendor sets. The second sees the nine and ranks the objects;
those it names right in at least three of four unseen pictures are kept.

Run ``python -m demo_model.choose``; about 20 minutes on one core. It rewrites ``choice.json``.
"""

from __future__ import annotations

import json

import numpy as np
import torch

from demo_model.corpus import Corpus
from demo_model.detector import (
    Labels,
    add_none,
    confusion,
    held_out_drawings,
    predict,
    train_detector,
)
from demo_model.sources import OBJECTS
from demo_model.taught import CHOICE
from demo_model.training import to_tensor

STYLES = {
    "van-gogh": "vincent_van_gogh_village_street_in_auvers_1890",
    "hokusai": "katsushika_hokusai_oiran_and_kamuro",
    "renoir": "pierre_auguste_renoir_girls_at_the_piano_1892",
    "kandinsky": "wassily_kandinsky_composition_viii_1923",
    "bazille": "bazille_the_ramparts_at_aigues_mortes_1867",
    "cassatt": "mary_cassatt_summertime_1894",
    "arcimboldo": "giuseppe_arcimboldo_the_librarian_1566",
    "fluent": "fluent",
    "ink": "ink",
}
"""The nine, c0 to c8 in this order, with their corpus labels."""
CANDIDATE_STEPS, OBJECT_STEPS, HELD_OUT, SEED = 600, 1500, 0, 0
KEPT_ABOVE = 0.75
PLURAL = {"grapes"}
"""Names that do not fit behind an article."""


def confusions(corpus: Corpus, steps: int) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Style confusion and object accuracy on unseen drawings.

    Args:
        corpus: Rows to train on and to ask about.
        steps: Training steps.

    Returns:
        Shares of answers by true style, and the share of right answers by object.
    """
    labels = Labels(
        add_none(tuple(sorted(set(corpus.style.tolist())))),
        add_none(tuple(sorted(set(corpus.object.tolist())))),
    )
    held = held_out_drawings(corpus, HELD_OUT)
    net = train_detector(corpus.where(~held), labels, steps=steps, seed=SEED)
    asked = corpus.where(held)
    style, thing = labels.encode(asked)
    seen_style, seen_thing = predict(net, to_tensor(asked.images))
    counts = confusion(style, seen_style, len(labels.styles)).double()
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    table = {
        labels.styles[i]: {labels.styles[j]: round(float(row[j]), 3) for j in row.nonzero()[:, 0]}
        for i, row in enumerate(shares)
        if counts[i].sum() > 0
    }
    right = {
        name: round(float((seen_thing == thing)[thing == i].double().mean()), 3)
        for i, name in enumerate(labels.objects)
        if (thing == i).any()
    }
    return table, right


def main() -> None:
    """Measure, choose and write ``choice.json``."""
    torch.set_num_threads(1)
    corpus = Corpus.load()
    candidates, _ = confusions(corpus, CANDIDATE_STEPS)
    nine = corpus.where(np.isin(corpus.style, [*STYLES.values(), "plain", "none"]))
    chosen, right = confusions(nine, OBJECT_STEPS)
    objects = [o for o in sorted(OBJECTS) if right[o] >= KEPT_ABOVE and o not in PLURAL]
    evidence = {"candidates": candidates, "nine": chosen, "objects": right}
    choice = {"styles": STYLES, "objects": objects, "evidence": evidence}
    CHOICE.write_text(json.dumps(choice, indent=1) + "\n")


if __name__ == "__main__":
    main()
