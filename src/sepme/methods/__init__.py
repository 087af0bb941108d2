"""Erasure methods, one file each."""

from sepme.core.method import Method
from sepme.errors import UnknownMethod
from sepme.registry import Registry

METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        "adavd": "sepme.methods.adavd:AdaVD",
        "concept-ablation": "sepme.methods.concept_ablation:ConceptAblation",
        "conceptprune": "sepme.methods.conceptprune:ConceptPrune",
        "doco": "sepme.methods.doco:DoCo",
        "esd": "sepme.methods.esd:ESD",
        "fmn": "sepme.methods.fmn:ForgetMeNot",
        "geom-erasing": "sepme.methods.geom_erasing:GeomErasing",
        "mace": "sepme.methods.mace:MACE",
        "oce": "sepme.methods.oce:OCE",
        "rece": "sepme.methods.rece:RECE",
        "receler": "sepme.methods.receler:Receler",
        "semantic-surgery": "sepme.methods.semantic_surgery:SemanticSurgery",
        "sepme": "sepme.methods.sepme:SepME",
        "sepme-free": "sepme.methods.sepme_free:SepMEFree",
        "sepme-joint": "sepme.methods.sepme_joint:SepMEJoint",
        "sepme-text": "sepme.methods.sepme_text:SepMEText",
        "speed": "sepme.methods.speed:SPEED",
        "spm": "sepme.methods.spm:SPM",
        "uce": "sepme.methods.uce:UCE",
    },
    error=UnknownMethod,
)
"""Every method by its registry name."""

__all__ = ["METHODS"]
