"""Erasers that change no weight: they act on activations while the model runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn, Self

from torch import Tensor

from sepme.errors import MethodError, shown


class Guard(ABC):
    """A payload that leaves every weight alone and changes what some modules put out.

    A guard is an immutable value and its functions are pure and differentiable, so the backend can
    switch it on and off and the model without it is the original, bit for bit. It has two places
    to act: the text embeddings before the U-Net reads them, and the outputs of the modules it
    names. Both see one row per prompt of the batch, the unconditional ones included. With
    strength 0 nothing changes.

    Another guard is one class with `kind`, `tensors` and `from_tensors`, at least one of the two
    functions, and one row in `sepme.core.payload.PAYLOADS`.
    """

    kind: ClassVar[str]
    guided_only: ClassVar[bool] = False
    """Whether `text` is for the batches of classifier-free guidance alone: every latent twice, the
    unconditional half first."""

    @property
    def sites(self) -> tuple[str, ...]:
        """No weight is changed."""
        return ()

    def delta(self, site: str, base: Tensor) -> NoReturn:
        """There is none.

        Args:
            site: Any.
            base: Any.

        Raises:
            MethodError: Always.
        """
        raise MethodError(f"a {self.kind!r} payload changes no weight, so {site!r} has no delta.")

    @property
    def modules(self) -> tuple[str, ...]:
        """Module paths of the U-Net whose outputs it changes; each puts out one tensor."""
        return ()

    def text(self, embeds: Tensor, strength: float) -> Tensor:
        """Text embeddings as the U-Net is to read them.

        Args:
            embeds: ``(n, tokens, d_text)``.
            strength: 0 is off, 1 as fitted (dimensionless).

        Returns:
            Same shape; a prompt the guard does not fire for keeps its rows, bit for bit.
        """
        return embeds

    def text_after(self, embeds: Tensor, given: Tensor, strength: float) -> Tensor:
        """Text embeddings as the U-Net is to read them, where other guards acted before this one.

        Args:
            embeds: What those guards made of ``given``; ``given`` itself for the first guard.
            given: Text embeddings before any guard, ``(n, tokens, d_text)``.
            strength: 0 is off, 1 as fitted (dimensionless).

        Returns:
            Shape of ``embeds``. Unless a guard says otherwise, it takes ``embeds`` as its prompts.
        """
        return self.text(embeds, strength)

    def output(
        self, module: str, given: Tensor, output: Tensor, embeds: Tensor, strength: float
    ) -> Tensor:
        """What a module is to put out instead.

        Args:
            module: One of `modules`.
            given: The module's input.
            output: What it puts out by itself, or after the guards before this one.
            embeds: Text embeddings of the batch before any guard, ``(n, tokens, d_text)``.
            strength: 0 is off, 1 as fitted (dimensionless).

        Returns:
            Same shape as ``output``.
        """
        return output

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Everything it stores, by name; `from_tensors` is the inverse."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Guard:
        """Rebuild it from named tensors.

        Args:
            tensors: What `tensors` returned, perhaps from an untrusted file.

        Raises:
            MethodError: If the names, shapes, dtypes or values do not fit.
        """

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself, so that copies of a network share it: it never changes."""
        return self


class NamedGuard(Guard):
    """A guard that stores some tensors whose names are known, as attributes of these names."""

    stored: ClassVar[tuple[str, ...]]
    """Names of the tensors, sorted."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything it stores, by name."""
        return {name: getattr(self, name) for name in self.stored}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild it from named tensors.

        Args:
            tensors: What `tensors` returned, perhaps from an untrusted file.

        Returns:
            The guard.

        Raises:
            MethodError: If the names, shapes, dtypes or values do not fit.
        """
        if tuple(sorted(tensors)) != cls.stored:
            raise MethodError(
                f"a {cls.kind!r} payload needs {cls.stored}, got {shown(sorted(tensors))}."
            )
        return cls(**tensors)
