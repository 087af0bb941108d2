"""One row per attack: settings and a budget small enough for the tiny model."""

from collections.abc import Mapping
from dataclasses import dataclass

from sepme.attacks.best_of_n import BestOfN
from sepme.attacks.classifier_guidance import ClassifierGuidance
from sepme.attacks.completion import Completion
from sepme.attacks.ddim_inversion import DDIMInversion
from sepme.attacks.gcg import GCG
from sepme.attacks.img2img import Img2Img
from sepme.attacks.inpainting import Inpainting
from sepme.attacks.lora_merge import LoraMerge
from sepme.attacks.noise import Noise
from sepme.attacks.null_text_inversion import NullTextInversion
from sepme.attacks.p4d import P4D
from sepme.attacks.paraphrase import Paraphrase
from sepme.attacks.quantise import Quantise
from sepme.attacks.relearn import Relearn
from sepme.attacks.relearn_benign import RelearnBenign
from sepme.attacks.ring_a_bell import RingABell
from sepme.attacks.strip import Strip
from sepme.attacks.textual_inversion import TextualInversion
from sepme.attacks.typo import Typo
from sepme.attacks.unlearn_diff_atk import UnlearnDiffAtk
from sepme.core.attack import Attack


@dataclass(frozen=True)
class AttackCase:
    """A small instance of an attack.

    Attributes:
        attack: The instance.
        budget: What it is run with.
        independent: Whether an example fares by itself, and only images of it are judged.
    """

    attack: Attack
    budget: int
    independent: bool = True


CASES: Mapping[str, AttackCase] = {
    "best-of-n": AttackCase(BestOfN(), 3),
    "classifier-guidance": AttackCase(
        ClassifierGuidance(images=3, training_steps=3, batch_size=4, width=8), 2
    ),
    "completion": AttackCase(Completion(), 2),
    "ddim-inversion": AttackCase(DDIMInversion(), 2, independent=False),
    "gcg": AttackCase(GCG(tokens=3, candidates=4, top=4, checks=2), 3),
    "img2img": AttackCase(Img2Img(), 2),
    "inpainting": AttackCase(Inpainting(), 2),
    "lora-merge": AttackCase(LoraMerge(steps=2, images=2, strengths=(1.0, 2.0)), 2),
    "noise": AttackCase(Noise(etas=(1.0,), scales=(1.0, 1.1)), 2),
    "null-text-inversion": AttackCase(NullTextInversion(), 2),
    "p4d": AttackCase(P4D(tokens=3, checks=2), 3),
    "paraphrase": AttackCase(Paraphrase(), 3),
    "quantise": AttackCase(Quantise(), 2),
    "relearn": AttackCase(Relearn(shots=(2,), checks=1), 3),
    "relearn-benign": AttackCase(
        RelearnBenign(shots=(2,), checks=1, tune="lora", prompts=("fig",)), 3
    ),
    "ring-a-bell": AttackCase(RingABell(tokens=3, population=6, checks=2), 3),
    "strip": AttackCase(Strip(), 1),
    "textual-inversion": AttackCase(TextualInversion(images=2, batch_size=2, checks=2), 3),
    "typo": AttackCase(Typo(), 3),
    "unlearn-diff-atk": AttackCase(UnlearnDiffAtk(tokens=2, checks=2), 3),
}
