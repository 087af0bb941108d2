"""Features of CLIP and of FID's Inception network, from local files. They need weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sepme.errors import BackendError

if TYPE_CHECKING:
    from PIL.Image import Image

_AT_ONCE = 16
_INCEPTION_WIDTH = 2048


class Clip:
    """CLIP from a folder in transformers' format, for `clip_score` and `cmmd`.

    Not run here: its weights are not part of this project.

    Args:
        folder: With ``config.json``, weights, tokenizer and ``preprocessor_config.json``.

    Raises:
        BackendError: If there is no such folder, or it is incomplete.
    """

    def __init__(self, folder: str | Path) -> None:
        """Load the network."""
        if not (Path(folder) / "config.json").is_file():
            raise BackendError(
                f"no CLIP weights in {folder}. Download a CLIP model in transformers' format, such "
                "as openai/clip-vit-large-patch14, into that folder."
            )
        from transformers import CLIPModel, CLIPProcessor

        try:
            self._net: Any = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
            self._processor: Any = CLIPProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise BackendError(
                f"the CLIP model in {folder} does not load: {str(error).splitlines()[0]} "
                "Download it again, with tokenizer and preprocessor."
            ) from error

    @torch.inference_mode()
    def images(self, images: Sequence[Image]) -> Tensor:
        """Features ``(n, d)`` of images, prepared as CLIP was trained.

        Args:
            images: ``n`` images.
        """
        return torch.cat(
            [
                _features(
                    self._net.get_image_features(
                        **self._processor(images=part, return_tensors="pt")
                    )
                )
                for part in _parts([image.convert("RGB") for image in images])
            ]
        )

    @torch.inference_mode()
    def texts(self, prompts: Sequence[str]) -> Tensor:
        """Features ``(n, d)`` of prompts, cut at CLIP's length.

        Args:
            prompts: ``n`` prompts.
        """
        how = {"return_tensors": "pt", "padding": True, "truncation": True}
        return torch.cat(
            [
                _features(self._net.get_text_features(**self._processor(text=part, **how)))
                for part in _parts(list(prompts))
            ]
        )


class Inception:
    """The Inception network FID was made with, as TorchScript, for `fid` and `kid`.

    The file is ``inception-2015-12-05.pt`` of StyleGAN 3, which resizes as the original did. With
    it, and with 10 000 images or more, figures compare with published ones. Not run here: its
    weights are not part of this project.

    Args:
        weights: The file. TorchScript can run code: take it from where you trust it.

    Raises:
        BackendError: If there is no such file, or it is no TorchScript.
    """

    def __init__(self, weights: str | Path) -> None:
        """Load the network."""
        if not Path(weights).is_file():
            raise BackendError(
                f"no Inception weights at {weights}. Download inception-2015-12-05.pt of StyleGAN "
                "3 there."
            )
        try:
            self._net: Any = torch.jit.load(str(weights)).eval()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise BackendError(
                f"{weights} is no TorchScript network. Download inception-2015-12-05.pt again."
            ) from error

    @torch.inference_mode()
    def images(self, images: Sequence[Image]) -> Tensor:
        """Features ``(n, 2048)`` of images, given as bytes; the network resizes them itself.

        Args:
            images: ``n`` images of one size.

        Raises:
            BackendError: If the network gives features of another width.
        """
        rows = torch.cat(
            [self._net(_bytes(part), return_features=True) for part in _parts(list(images))]
        )
        if rows.ndim != 2 or rows.shape[1] != _INCEPTION_WIDTH:
            raise BackendError(
                f"FID's Inception gives (n, {_INCEPTION_WIDTH}) features, this network "
                f"{tuple(rows.shape)}. Download inception-2015-12-05.pt."
            )
        return rows


def _features(output: Any) -> Tensor:  # noqa: ANN401 (a tensor, or transformers' record of one)
    features: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return features


def _bytes(images: Sequence[Image]) -> Tensor:
    """``(n, 3, height, width)``, uint8."""
    pixels = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def _parts(items: list[Any]) -> list[list[Any]]:
    return [items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE)]
