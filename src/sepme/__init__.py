"""sepme: make a text-to-image diffusion model forget named concepts, prove it, give any back."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sepme import bench as bench
    from sepme import demo as demo
    from sepme.core.compose import compose as compose
    from sepme.core.concept import Concept as Concept
    from sepme.core.ledger import Ledger as Ledger
    from sepme.core.reproject import reproject as reproject
    from sepme.core.shift import ConceptShift as ConceptShift
    from sepme.errors import SepmeError as SepmeError
    from sepme.methods import METHODS as METHODS
    from sepme.methods.sepme import SepME as SepME
    from sepme.pipeline import ErasedPipeline as ErasedPipeline
    from sepme.pipeline import load as load

_WHERE = {
    "Concept": "sepme.core.concept",
    "ConceptShift": "sepme.core.shift",
    "ErasedPipeline": "sepme.pipeline",
    "Ledger": "sepme.core.ledger",
    "METHODS": "sepme.methods",
    "SepME": "sepme.methods.sepme",
    "SepmeError": "sepme.errors",
    "compose": "sepme.core.compose",
    "load": "sepme.pipeline",
    "reproject": "sepme.core.reproject",
}

_MODULES = ("bench", "demo")

__version__ = version("sepme")
__all__ = sorted([*_WHERE, *_MODULES, "__version__"])


def __getattr__(name: str) -> Any:  # noqa: ANN401 (whatever the name stands for)
    if name in _MODULES:
        return import_module(f"sepme.{name}")
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'sepme' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
