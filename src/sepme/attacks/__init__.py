"""Ways to make an erased model draw the concept again; all unofficial reimplementations."""

from sepme.core.attack import Attack
from sepme.registry import Registry

ATTACKS: Registry[type[Attack]] = Registry(
    "attack",
    {
        "best-of-n": "sepme.attacks.best_of_n:BestOfN",
        "classifier-guidance": "sepme.attacks.classifier_guidance:ClassifierGuidance",
        "completion": "sepme.attacks.completion:Completion",
        "ddim-inversion": "sepme.attacks.ddim_inversion:DDIMInversion",
        "gcg": "sepme.attacks.gcg:GCG",
        "img2img": "sepme.attacks.img2img:Img2Img",
        "inpainting": "sepme.attacks.inpainting:Inpainting",
        "lora-merge": "sepme.attacks.lora_merge:LoraMerge",
        "noise": "sepme.attacks.noise:Noise",
        "null-text-inversion": "sepme.attacks.null_text_inversion:NullTextInversion",
        "p4d": "sepme.attacks.p4d:P4D",
        "paraphrase": "sepme.attacks.paraphrase:Paraphrase",
        "quantise": "sepme.attacks.quantise:Quantise",
        "relearn": "sepme.attacks.relearn:Relearn",
        "relearn-benign": "sepme.attacks.relearn_benign:RelearnBenign",
        "ring-a-bell": "sepme.attacks.ring_a_bell:RingABell",
        "strip": "sepme.attacks.strip:Strip",
        "textual-inversion": "sepme.attacks.textual_inversion:TextualInversion",
        "typo": "sepme.attacks.typo:Typo",
        "unlearn-diff-atk": "sepme.attacks.unlearn_diff_atk:UnlearnDiffAtk",
    },
)
"""Every attack by its registry name."""

__all__ = ["ATTACKS"]
