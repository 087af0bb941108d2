"""Draws images in fixed batches, never the same one twice, and looks at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from sepme.bench.store import Key, Pixels, Store
from sepme.errors import BackendError
from sepme.verify.cases import Batch, Case, chunks
from sepme.verify.studio import complete

if TYPE_CHECKING:
    from sepme.pipeline import ErasedPipeline


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """An image and what the detector says of it.

    Attributes:
        case: What was asked for.
        pixels: ``(height, width, 3)``, 0 to 255.
        labels: Head to label.
        features: The detector's features ``(d,)``.
    """

    case: Case
    pixels: Pixels
    labels: dict[str, str]
    features: Tensor

    @property
    def image(self) -> Image.Image:
        """The image."""
        return Image.fromarray(self.pixels)

    def hit(self, head: str) -> bool:
        """Whether the detector sees what was asked for."""
        return self.labels[head] == self.case.label(head)


class Gallery:
    """Images of one model, whatever is erased at the moment.

    Args:
        model: The model; it needs a detector.
        store: Where images are kept between runs.
        steps: Denoising steps of an image.
        progress: Whether to show progress on stderr.

    Raises:
        BackendError: If the model has no detector.
    """

    def __init__(self, model: ErasedPipeline, store: Store, *, steps: int, progress: bool) -> None:
        """Start with what the store holds."""
        if model.detector is None:
            raise BackendError(
                "this model has no detector, so no benchmark can tell what its images show. "
                "Use the demo model, or verify drift and exactness with sepme verify."
            )
        self._model, self._store, self._steps = model, store, steps
        self._seen: dict[tuple[str, Batch], list[Shot]] = {}
        hidden = {} if progress else {"disable": True}
        self._bar = tqdm(desc="images", unit="image", leave=False, **hidden)

    def close(self) -> None:
        """Take the progress bar away."""
        self._bar.close()

    def shoot(self, cases: Sequence[Case]) -> list[Shot]:
        """Images of some cases with weights and guards as they are now.

        Args:
            cases: What to draw, in fixed batches, so that an image has the same neighbours whenever
                these cases are drawn; the last batch may be smaller.

        Returns:
            One shot a case, in order.

        Raises:
            BackendError: If an image is missing or broken.
        """
        weights = self._model.backend.live_fingerprint()
        shots = []
        for batch in chunks(tuple(cases)):
            known = (weights, batch)
            if known not in self._seen:
                self._seen[known] = self._look(batch, self._pixels(weights, batch))
            shots += self._seen[known]
        return shots

    def key_of(self, batch: Batch) -> Key:
        """All that images of a batch depend on with the weights as they are now.

        Args:
            batch: What would be drawn.
        """
        return self._key(self._model.backend.live_fingerprint(), batch)

    def _pixels(self, weights: str, batch: Batch) -> Pixels:
        key = self._key(weights, batch)
        found = self._store.images(key)
        if found is None:
            images = complete(self._model, batch, self._steps)
            found = np.stack([np.asarray(image, dtype=np.uint8) for image in images])
            self._store.keep_images(key, found)
        self._bar.update(len(batch))
        return found

    def _key(self, weights: str, batch: Batch) -> Key:
        return {
            "base": self._model.fingerprint,
            "weights": weights,
            "prompts": [case.prompt for case in batch],
            "seeds": [case.seed for case in batch],
            "sampler": f"{type(self._model.pipeline.scheduler).__name__} {self._steps}",
            "guidance": str(self._model.backend.sidecar.guidance_scale),
            "device": str(self._model.pipeline.device),
            "dtype": str(self._model.pipeline.unet.dtype),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }

    def _look(self, batch: Batch, pixels: Pixels) -> list[Shot]:
        detector = self._model.detector
        if detector is None:
            raise BackendError("the model lost its detector.")
        images = [Image.fromarray(picture) for picture in pixels]
        labels, features = detector(images), detector.features(images)
        return [
            Shot(case, pixels[i], {head: names[i] for head, names in labels.items()}, features[i])
            for i, case in enumerate(batch)
        ]


def card(title: str, shots: Mapping[str, Shot]) -> tuple[str, dict[str, Image.Image]]:
    """Images of one case side by side, as a report shows them.

    Args:
        title: What the case stands for.
        shots: Name to shot; all of the same case.

    Returns:
        The caption, and name to image.
    """
    case = next(iter(shots.values())).case
    caption = f"{title}: “{case.prompt}”, seed {case.seed}"
    return caption, {name: shot.image for name, shot in shots.items()}
