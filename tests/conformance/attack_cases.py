"""One row per attack: settings and a budget small enough for the tiny model."""

from collections.abc import Mapping
from dataclasses import dataclass

from sepme.attacks.best_of_n import BestOfN
from sepme.attacks.gcg import GCG
from sepme.attacks.p4d import P4D
from sepme.attacks.paraphrase import Paraphrase
from sepme.attacks.ring_a_bell import RingABell
from sepme.attacks.typo import Typo
from sepme.attacks.unlearn_diff_atk import UnlearnDiffAtk
from sepme.core.attack import Attack


@dataclass(frozen=True)
class AttackCase:
    """A small instance of an attack.

    Attributes:
        attack: The instance.
        budget: What it is run with.
        independent: Whether what happens to an example does not depend on the others.
    """

    attack: Attack
    budget: int
    independent: bool = True


CASES: Mapping[str, AttackCase] = {
    "best-of-n": AttackCase(BestOfN(), 3),
    "gcg": AttackCase(GCG(tokens=3, candidates=4, top=4, checks=2), 3),
    "p4d": AttackCase(P4D(tokens=3, checks=2), 3),
    "paraphrase": AttackCase(Paraphrase(), 3),
    "ring-a-bell": AttackCase(RingABell(tokens=3, population=6, checks=2), 3),
    "typo": AttackCase(Typo(), 3),
    "unlearn-diff-atk": AttackCase(UnlearnDiffAtk(tokens=2, checks=2), 3),
}
