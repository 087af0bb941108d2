"""``sepme.json``: what a model directory may tell sepme about its model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sepme.core.concept import BLANK, Concept
from sepme.errors import BackendError, SepmeError

FILE_NAME = "sepme.json"


@dataclass(frozen=True)
class Sidecar:
    """Facts about a model that its weights do not tell.

    Attributes:
        known: Prompts that every shift leaves alone: blank first, then watermarks.
        presets: Method name to hyper-parameters that suit this model.
        guidance_scale: Classifier-free guidance used when none is asked for.
    """

    known: tuple[Concept, ...] = (BLANK,)
    presets: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    guidance_scale: float = 7.5

    @classmethod
    def read(cls, folder: Path, *, guidance_scale: float = 7.5) -> Sidecar:
        """The sidecar of a model directory, or the defaults where it has none.

        Args:
            folder: A diffusers pipeline directory.
            guidance_scale: Where the file names none, or there is no file.

        Returns:
            The sidecar.

        Raises:
            BackendError: If the file is there and is not of that form.
        """
        path = folder / FILE_NAME
        if not path.exists():
            return cls(guidance_scale=guidance_scale)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                known=(BLANK, *(Concept.from_dict(entry) for entry in data.get("watermarks", []))),
                presets={str(k): dict(v) for k, v in data.get("presets", {}).items()},
                guidance_scale=float(data.get("guidance_scale", guidance_scale)),
            )
        except (OSError, ValueError, TypeError, AttributeError, SepmeError) as error:
            raise BackendError(f"{path} is not a valid {FILE_NAME}: {error}") from error
