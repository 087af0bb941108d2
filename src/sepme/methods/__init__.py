"""Erasure methods, one file each."""

from sepme.core.method import Method
from sepme.errors import UnknownMethod
from sepme.registry import Registry

METHODS: Registry[type[Method]] = Registry(
    "method", {"sepme": "sepme.methods.sepme:SepME"}, error=UnknownMethod
)
"""Every method by its registry name."""

__all__ = ["METHODS"]
