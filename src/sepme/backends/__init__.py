"""Adapters to model families; the only place that imports diffusers."""

from sepme.backends.delegate import Delegate
from sepme.backends.ledgered import Ledgered
from sepme.backends.loading import load_backend
from sepme.backends.sdxl import StableDiffusionXL
from sepme.backends.stable_diffusion import StableDiffusion

__all__ = ["Delegate", "Ledgered", "StableDiffusion", "StableDiffusionXL", "load_backend"]
