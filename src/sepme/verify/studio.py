"""Draws every image of a verification once, and looks at it once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm.auto import tqdm

from sepme.errors import BackendError
from sepme.verify.cases import Batch, Case, chunks

if TYPE_CHECKING:
    from PIL.Image import Image

    from sepme.pipeline import ErasedPipeline

Shot = tuple[str, Case]


class Studio:
    """Images by state and case; a state is a name for the weights they were drawn with.

    Args:
        model: The model.
        jobs: Pairs of a state and the cases that will be drawn in it, for the progress bar.
        steps: Denoising steps of an image.
        progress: Whether to show progress on stderr.
    """

    def __init__(
        self,
        model: ErasedPipeline,
        jobs: Sequence[tuple[str, Batch]],
        *,
        steps: int,
        progress: bool,
    ) -> None:
        """Start with no image."""
        self._model, self._steps = model, steps
        self._images: dict[Shot, Any] = {}
        self._labels: dict[Shot, dict[str, str]] = {}
        self._features: dict[Shot, Tensor] = {}
        total = len({(state, case) for state, cases in jobs for case in cases})
        hidden = {} if progress else {"disable": True}  # else left to the bar and TQDM_DISABLE
        self._bar = tqdm(total=total, desc="verify", unit="image", leave=False, **hidden)

    def close(self) -> None:
        """Take the progress bar away."""
        self._bar.close()

    @property
    def count(self) -> int:
        """Images drawn so far."""
        return len(self._images)

    def draw(self, state: str, cases: Batch) -> None:
        """Draw cases with the weights as they are now, in fixed batches.

        Args:
            state: The name of these weights.
            cases: What to draw; a batch already drawn in this state is not drawn again.

        Raises:
            BackendError: If an image is missing or broken.
        """
        for batch in chunks(cases):
            if all((state, case) in self._images for case in batch):
                continue
            images = complete(self._model, batch, self._steps)
            self._look(state, batch, images)
            self._bar.update(len(batch))

    def _look(self, state: str, batch: Batch, images: list[Image]) -> None:
        shots = [(state, case) for case in batch]
        self._images |= dict(zip(shots, images, strict=True))
        detector = self._model.detector
        if detector is None:
            return
        labels = detector(images)
        for place, shot in enumerate(shots):
            self._labels[shot] = {head: names[place] for head, names in labels.items()}
        self._features |= dict(zip(shots, detector.features(images), strict=True))

    def image(self, state: str, case: Case) -> Image:
        """The image of a case in a state."""
        found: Image = self._images[state, case]
        return found

    def pixels(self, state: str, case: Case) -> npt.NDArray[np.uint8]:
        """Its pixels, ``(height, width, 3)``."""
        return np.asarray(self._images[state, case], dtype=np.uint8)

    def label(self, state: str, case: Case, head: str) -> str:
        """What the detector's head says of it."""
        return self._labels[state, case][head]

    def features(self, state: str, cases: Batch) -> Tensor | None:
        """The detector's features ``(n, d)`` of some cases; None without a detector."""
        if self._model.detector is None:
            return None
        return torch.stack([self._features[state, case] for case in cases])


@contextmanager
def _strict_pixels() -> Iterator[None]:
    """A pixel that is not a number must not turn into a black one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "invalid value encountered in cast", RuntimeWarning)
        yield


def complete(model: ErasedPipeline, batch: Batch, steps: int) -> list[Image]:
    """Every image of a batch, in RGB, or an error.

    Args:
        model: The model.
        batch: What to draw.
        steps: Denoising steps of an image.

    Raises:
        BackendError: If an image is missing or broken.
    """
    prompts, seeds = [case.prompt for case in batch], [case.seed for case in batch]
    try:
        with _strict_pixels():
            images = model.generate(prompts, seeds=seeds, steps=steps)
    except RuntimeWarning as error:
        raise BackendError(
            f"the model drew pixels that are not numbers for one of {prompts}. "
            "Load it in float32, or restore the shift that broke it."
        ) from error
    if len(images) != len(batch) or any(image is None for image in images):
        raise BackendError(
            f"asked for {len(batch)} images and got {len(images)}; a missing image is not counted "
            "as anything. Run the verification again."
        )
    return [image.convert("RGB") for image in images]
