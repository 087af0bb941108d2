"""Executors, one file each: where ``fit_many`` and benchmarks are computed."""

from sepme.core.executor import EXECUTORS

__all__ = ["EXECUTORS"]
