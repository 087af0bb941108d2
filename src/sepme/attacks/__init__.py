"""Ways to make an erased model draw the concept again; all unofficial reimplementations."""

from sepme.core.attack import Attack
from sepme.registry import Registry

ATTACKS: Registry[type[Attack]] = Registry(
    "attack",
    {
        "best-of-n": "sepme.attacks.best_of_n:BestOfN",
        "gcg": "sepme.attacks.gcg:GCG",
        "p4d": "sepme.attacks.p4d:P4D",
        "paraphrase": "sepme.attacks.paraphrase:Paraphrase",
        "ring-a-bell": "sepme.attacks.ring_a_bell:RingABell",
        "typo": "sepme.attacks.typo:Typo",
        "unlearn-diff-atk": "sepme.attacks.unlearn_diff_atk:UnlearnDiffAtk",
    },
)
"""Every attack by its registry name."""

__all__ = ["ATTACKS"]
