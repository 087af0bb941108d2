"""Ways to make an erased model draw the concept again; all unofficial reimplementations."""

from sepme.core.attack import Attack
from sepme.registry import Registry

ATTACKS: Registry[type[Attack]] = Registry("attack", {})
"""Every attack by its registry name."""

__all__ = ["ATTACKS"]
