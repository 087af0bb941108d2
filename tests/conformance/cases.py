"""One row per method: hyper-parameters small enough to fit the tiny model in about a second."""

from collections.abc import Mapping

from sepme.core.method import Method
from sepme.methods.adavd import AdaVD
from sepme.methods.concept_ablation import ConceptAblation
from sepme.methods.conceptprune import ConceptPrune
from sepme.methods.doco import DoCo
from sepme.methods.esd import ESD
from sepme.methods.fmn import ForgetMeNot
from sepme.methods.geom_erasing import GeomErasing
from sepme.methods.mace import MACE
from sepme.methods.oce import OCE
from sepme.methods.rece import RECE
from sepme.methods.receler import Receler
from sepme.methods.semantic_surgery import SemanticSurgery
from sepme.methods.sepme import SepME
from sepme.methods.sepme_free import SepMEFree
from sepme.methods.sepme_joint import SepMEJoint
from sepme.methods.sepme_text import SepMEText
from sepme.methods.speed import SPEED
from sepme.methods.spm import SPM
from sepme.methods.uce import UCE

CASES: Mapping[str, Method] = {
    "adavd": AdaVD(),
    "concept-ablation": ConceptAblation(
        images=2, pool=4, max_steps=12, batch_size=1, learning_rate=1e-3
    ),
    "conceptprune": ConceptPrune(steps=4, early=2),
    "doco": DoCo(images=2, pool=4, warm_up=4, max_steps=12, batch_size=2, learning_rate=1e-3),
    "esd": ESD(images=2, pool=4, max_steps=12, learning_rate=1e-3),
    "fmn": ForgetMeNot(images=2, pool=4, max_steps=12, learning_rate=1e-3),
    "geom-erasing": GeomErasing(
        detector="tests.boxes:upper_left", images=4, pool=4, max_steps=12, grid=2
    ),
    "mace": MACE(images=2, pool=4, max_steps=12, learning_rate=1e-2, lamb=0.1),
    "oce": OCE(),
    "rece": RECE(),
    "receler": Receler(
        images=2, pool=4, max_steps=12, learning_rate=1e-2, rank=4, adversarial_steps=2
    ),
    "semantic-surgery": SemanticSurgery(),
    "sepme": SepME(images=2, pool=4, max_steps=12, scale=0.02, threshold=-1.0),
    "sepme-free": SepMEFree(images=2, pool=4, max_steps=12, learning_rate=1e-3, threshold=-1.0),
    "sepme-joint": SepMEJoint(images=2, pool=4, max_steps=12, scale=0.02, threshold=-1.0),
    "sepme-text": SepMEText(),
    "speed": SPEED(),
    "spm": SPM(images=2, pool=4, max_steps=12, learning_rate=1e-2, anchors=2),
    "uce": UCE(),
}
