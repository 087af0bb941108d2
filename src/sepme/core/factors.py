"""What payloads are made of: names of sites, and finite float32 weights."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from sepme.errors import Diverged, MethodError, shown

_KINDS = {(1,): "vector", (2,): "matrix", (2, 4): "matrix or weight of a convolution"}

_SITE = re.compile(r"\w+(\.\w+)*", re.ASCII)


def check_site(site: str) -> None:
    """Refuse what cannot be the module path of a weight.

    Args:
        site: The candidate, perhaps from an untrusted file.

    Raises:
        MethodError: If it is not words of ASCII letters, digits and underscores joined by dots.
    """
    if not _SITE.fullmatch(site):
        raise MethodError(f"a site must be a dotted module path, got {shown(site)}.")


def owned_matrix(name: str, tensor: Tensor, *, dims: tuple[int, ...] = (2,)) -> Tensor:
    """A checked copy of a matrix, so that what its giver does to it later changes nothing.

    Args:
        name: What it is called in messages.
        tensor: The candidate, perhaps from an untrusted file.
        dims: Numbers of dimensions it may have; 4 lets weights of convolutions pass.

    Returns:
        A contiguous copy on the CPU that needs no gradient.

    Raises:
        MethodError: If it is not a non-empty float32 tensor of such dimensions.
        Diverged: If a number is not finite.
    """
    if tensor.dtype != torch.float32 or tensor.ndim not in dims or 0 in tensor.shape:
        raise MethodError(
            f"{name!r} must be a non-empty float32 {_KINDS[dims]}, "
            f"got {tensor.dtype} of shape {tuple(tensor.shape)}."
        )
    owned = tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if not torch.isfinite(owned).all():
        raise Diverged(
            f"{name!r} holds numbers that are not finite. Fit again with gentler hyper-parameters, "
            "such as a smaller learning rate or a larger lamb."
        )
    return owned


def by_site(matrices: Mapping[str, Tensor], *, dims: tuple[int, ...] = (2,)) -> dict[str, Tensor]:
    """Checked copies of the matrices of some sites, sorted by site.

    Args:
        matrices: Module path of each site to its matrix, perhaps from an untrusted file.
        dims: As for `owned_matrix`.

    Returns:
        The copies.

    Raises:
        MethodError: If there is no site, or a name or matrix does not fit.
        Diverged: If a number is not finite.
    """
    if not matrices:
        raise MethodError("a shift needs at least one site, got none.")
    for site in matrices:
        check_site(site)
    return {
        site: owned_matrix(site, matrix, dims=dims) for site, matrix in sorted(matrices.items())
    }


def unprefixed(tensors: Mapping[str, Tensor], prefix: str, what: str) -> dict[str, Tensor]:
    """The tensors of sites by site, from what a file calls them.

    Args:
        tensors: By name.
        prefix: What every name must begin with.
        what: Whose tensors these are, for messages.

    Returns:
        The tensors, by the rest of their names.

    Raises:
        MethodError: If a name begins otherwise.
    """
    if odd := [name for name in sorted(tensors) if not name.startswith(prefix)]:
        raise MethodError(f"{what} has no tensor named {shown(odd[0])}.")
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
