"""The weights of a U-Net that shifts can change, and what they were at first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sepme.core.backend import CROSS_ATTN_KV
from sepme.errors import BackendError


class PristineWeights(Mapping[str, Tensor]):
    """Pristine copies of the weights that sepme may have changed, by module path.

    The text sites are copied at once. Any other weight is copied when it is first written, and the
    copy goes when the weight is given back: without a copy, what is live is pristine.

    Args:
        unet: The live U-Net.

    Raises:
        BackendError: If it has no text sites, or adapters hide one.
    """

    def __init__(self, unet: nn.Module) -> None:
        """Copy the text sites."""
        self._layers = {
            name: module
            for name, module in unet.named_modules()
            if isinstance(module, (nn.Linear, nn.Conv2d))
        }
        self._aside: dict[str, Any] = {}  # live weights that copies stand in for
        self._changed: set[str] = set()
        self._text = _text_sites(unet)
        self._copies = {site: self._live(site).clone() for site in self._text}

    def __getitem__(self, site: str) -> Tensor:
        """The copy of one weight."""
        return self._copies[site]

    def __iter__(self) -> Iterator[str]:
        """Sites that have a copy, text sites first."""
        return iter(self._copies)

    def __len__(self) -> int:
        """Number of sites that have a copy."""
        return len(self._copies)

    @property
    def text(self) -> dict[str, Tensor]:
        """Pristine weights of the text sites."""
        return {site: self._copies[site] for site in self._text}

    def live(self) -> dict[str, Tensor]:
        """What the U-Net uses now wherever there is a copy."""
        return {site: self._live(site) for site in self._copies}

    def matching(self, target_modules: str | Sequence[str]) -> dict[str, Tensor]:
        """Pristine weights of matching linear and convolution layers, copied or not.

        Args:
            target_modules: As for :meth:`sepme.core.backend.Backend.sites`.

        Returns:
            Module path to weight, in the order of the U-Net.
        """
        chosen = (site for site in self._layers if _is_target(site, target_modules))
        return {site: self.original(site) for site in chosen}

    def original(self, site: str) -> Tensor:
        """The pristine weight of a site, copied or not.

        Args:
            site: Module path of a linear or convolution layer.

        Returns:
            The weight.

        Raises:
            BackendError: If there is no such layer.
        """
        copied = self._copies.get(site)
        return self._live(site) if copied is None else copied

    @torch.no_grad()
    def write(self, weights: Mapping[str, Tensor]) -> None:
        """Copy weights into the U-Net, in place.

        Args:
            weights: Site to weight; handing in the pristine weight itself gives the site back.

        Raises:
            BackendError: If there is no such layer.
        """
        for site, weight in list(weights.items()):
            live = self._live(site)
            if site not in self._copies and not _is_same(weight, live):
                self._copies[site] = live.clone()
            live.copy_(weight)
            given_back = site not in self._copies or _is_same(weight, self._copies[site])
            (self._changed.discard if given_back else self._changed.add)(site)
            if site not in self._text and given_back:
                self._copies.pop(site, None)

    def follow(self, device: torch.device) -> None:
        """Move the copies to where the U-Net is now; moving keeps every bit."""
        self._copies = {site: weight.to(device) for site, weight in self._copies.items()}

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let the U-Net use the pristine copies themselves inside a block; no number is moved.

        Yields:
            Nothing; `live` and `write` still speak of the weights that come back on exit.
        """
        put_aside = sorted(self._changed - self._aside.keys())
        try:
            for site in put_aside:
                layer = self._layers[site]
                self._aside[site] = layer.weight
                layer.weight = nn.Parameter(self._copies[site], requires_grad=False)
            yield
        finally:
            for site in put_aside:
                if site in self._aside:
                    self._layers[site].weight = self._aside.pop(site)

    def _live(self, site: str) -> Tensor:
        if site not in self._layers:
            raise BackendError(
                f"{site!r} is no linear or convolution layer of this U-Net; "
                f"expected names such as {next(iter(self._text))!r}."
            )
        weight: Tensor = self._aside.get(site, self._layers[site].weight)
        return weight.detach()


def _is_same(one: Tensor, two: Tensor) -> bool:
    """Whether both are one piece of memory."""
    return one.data_ptr() == two.data_ptr()


def _is_target(site: str, target_modules: str | Sequence[str]) -> bool:
    if not isinstance(target_modules, str):
        return f".{site}".endswith(tuple(f".{suffix.lstrip('.')}" for suffix in target_modules))
    try:
        return re.fullmatch(target_modules, site) is not None
    except re.error as error:
        raise BackendError(
            f"target_modules {target_modules!r} is not a regular expression: {error}."
        ) from error


def _text_sites(unet: nn.Module) -> tuple[str, ...]:
    modules = {n: m for n, m in unet.named_modules() if re.fullmatch(CROSS_ATTN_KV, n)}
    if not modules:
        raise BackendError(
            f"found no cross-attention keys or values ({CROSS_ATTN_KV}) in "
            f"{type(unet).__name__}; expected the U-Net of a Stable Diffusion model."
        )
    for name, module in sorted(modules.items()):
        if not isinstance(module, nn.Linear):
            raise BackendError(
                f"{name} is a {type(module).__name__}, not a plain linear layer; "
                "fuse or unload the pipeline's adapters before sepme takes it over."
            )
    return tuple(modules)
