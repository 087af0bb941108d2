"""One row per attack on latents or embeddings: settings and a budget that take about a second."""

from collections.abc import Mapping

from sepme.attacks.classifier_guidance import ClassifierGuidance
from sepme.attacks.completion import Completion
from sepme.attacks.ddim_inversion import DDIMInversion
from sepme.attacks.img2img import Img2Img
from sepme.attacks.inpainting import Inpainting
from sepme.attacks.noise import Noise
from sepme.attacks.null_text_inversion import NullTextInversion
from sepme.attacks.textual_inversion import TextualInversion
from sepme.core.attack import Attack

CASES: Mapping[str, tuple[Attack, int]] = {
    "classifier-guidance": (
        ClassifierGuidance(images=3, training_steps=3, batch_size=4, width=8),
        2,
    ),
    "completion": (Completion(), 2),
    "ddim-inversion": (DDIMInversion(), 2),
    "img2img": (Img2Img(), 2),
    "inpainting": (Inpainting(), 2),
    "noise": (Noise(etas=(1.0,), scales=(1.0, 1.1)), 2),
    "null-text-inversion": (NullTextInversion(), 2),
    "textual-inversion": (TextualInversion(images=2, batch_size=2, checks=2), 3),
}
