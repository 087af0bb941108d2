"""Erased sets of the prompts of one batch, each prompt its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from sepme.core.backend import Backend
from sepme.core.compose import in_order, sites_of
from sepme.core.entry import Entry
from sepme.core.ledger import Ledger
from sepme.core.shift import ConceptShift
from sepme.core.side_path import SidePath, Strengths, side_path
from sepme.errors import BackendError, Interference, NotSeparable, SpecError, shown

KEPT_BYTES = 2**29
"""Side paths are kept up to this size, those used last; the newest in any case."""

_Key: TypeAlias = tuple[tuple[tuple[str, float], ...], torch.device, torch.dtype]


@dataclass(frozen=True, eq=False)
class Policy:
    """What every prompt of a batch is to have forgotten.

    Attributes:
        paths: One side path for each prompt, None where nothing is erased. Prompts with the same
            erased set share one object.
        images_per_prompt: Images of each prompt; their rows follow one another.

    Raises:
        SpecError: If there is no prompt or no image.

    Example:
        >>> one = SidePath()
        >>> policy = Policy((one, None, one))
        >>> policy.rows(3)[one], policy.rows(6)[one]  # under guidance both halves have the set
        ([0, 2], [0, 2, 3, 5])
    """

    paths: tuple[SidePath | None, ...]
    images_per_prompt: int = 1

    def __post_init__(self) -> None:
        """Check that there is something to draw."""
        if not self.paths:
            raise SpecError("a policy needs an erased set for each prompt, at least one; got none.")
        if self.images_per_prompt < 1:
            raise SpecError(f"images_per_prompt must be 1 or more, got {self.images_per_prompt}.")

    @property
    def modules(self) -> tuple[str, ...]:
        """Module paths whose outputs it changes."""
        names = (name for path in self.paths if path for name in path.modules)
        return tuple(dict.fromkeys(names))

    def is_guided(self, batch: int, *, said: bool | None = None) -> bool:
        """Whether a batch holds each row twice, as under classifier-free guidance.

        Args:
            batch: Number of rows.
            said: What is known of it from elsewhere; None leaves it to the number of rows.

        Returns:
            True if it has twice as many rows as there are images.

        Raises:
            BackendError: If it has neither that many nor as many, or not what was said.
        """
        images = len(self.paths) * self.images_per_prompt
        guided = batch == 2 * images if said is None else said
        if batch != (2 * images if guided else images):
            how = {None: "", True: " under guidance", False: " without guidance"}[said]
            raise BackendError(
                f"the policy in force is for {len(self.paths)} prompts with "
                f"{self.images_per_prompt} images each, that is {images} rows, or {2 * images} "
                f"under guidance, but the U-Net got {batch}{how}; give one erased set for each "
                "prompt, and images_per_prompt as the pipeline gets it."
            )
        return guided

    def rows(self, batch: int) -> dict[SidePath, list[int]]:
        """Which rows of a batch each side path is for.

        Args:
            batch: Number of rows: one for each image, or two under guidance, where all
                unconditional rows come first.

        Returns:
            Side path to row numbers, ascending.

        Raises:
            BackendError: If the batch is not of such a size.
        """
        halves = 2 if self.is_guided(batch) else 1
        of_image = [path for path in self.paths for _ in range(self.images_per_prompt)]
        found: dict[SidePath, list[int]] = {}
        for row, path in enumerate(of_image * halves):
            if path is not None:
                found.setdefault(path, []).append(row)
        return found


class Policies:
    """Makes policies, and works out the side path of an erased set only once.

    Example:
        >>> Policies().kept
        0
    """

    def __init__(self) -> None:
        """Start with nothing worked out."""
        self._paths: dict[_Key, SidePath] = {}

    @property
    def kept(self) -> int:
        """Number of side paths that need not be worked out again."""
        return len(self._paths)

    def policy(
        self,
        model: Backend,
        actives: Sequence[Strengths],
        *,
        images_per_prompt: int = 1,
    ) -> Policy:
        """A policy for a batch of prompts.

        Args:
            model: The model.
            actives: For each prompt, pairs of a shift and its strength.
            images_per_prompt: Images of each prompt.

        Returns:
            The policy.

        Raises:
            BaseMismatch: If a shift does not fit the model.
            MethodError: If a shift cannot act on single rows.
        """
        text = model.sites() if any(actives) else {}
        paths = tuple(self._path(model, text, active) if active else None for active in actives)
        return Policy(paths, images_per_prompt)

    def _path(self, model: Backend, text: Mapping[str, Tensor], active: Strengths) -> SidePath:
        like = next(iter(text.values()))
        parts = tuple((shift.digest, strength) for shift, strength in in_order(active))
        key = (parts, like.device, like.dtype)
        path = self._paths.pop(key, None)
        if path is None:
            path = side_path(sites_of(model, (shift for shift, _ in active)), text, active)
        self._paths[key] = path  # last, since used last
        while len(self._paths) > 1 and sum(p.nbytes for p in self._paths.values()) > KEPT_BYTES:
            del self._paths[next(iter(self._paths))]
        return path


def actives_of(
    ledger: Ledger,
    shifts: Mapping[str, ConceptShift],
    erased: Sequence[Iterable[str]],
    *,
    allow_interference: bool = False,
) -> list[Strengths]:
    """Shifts and strengths behind sets of names.

    Args:
        ledger: Knows the names, in force or not.
        shifts: Digest to shift, for every entry of the ledger.
        erased: One set of names for each prompt.
        allow_interference: As for `entries_for`.

    Returns:
        For each set, pairs of a shift and the strength it has in the ledger.

    Raises:
        SpecError: If it is not a sequence of sets.
        NotErased: If the ledger never held a name.
        NotSeparable: If a set names only some of the concepts of a joint shift.
        Interference: If shifts of one set would disturb each other.
    """
    if isinstance(erased, str) or not isinstance(erased, Sequence):
        raise SpecError(f"expected a list with one set of names a prompt, got {shown(erased)}.")
    found: list[Strengths] = []
    for names in erased:
        entries = entries_for(ledger, names, allow_interference=allow_interference)
        found.append([(shifts[entry.shift], entry.strength) for entry in entries])
    return found


def entries_for(
    ledger: Ledger, names: Iterable[str], *, allow_interference: bool = False
) -> tuple[Entry, ...]:
    """Entries of a ledger that together erase just the named concepts.

    Args:
        ledger: Knows the names, in force or not.
        names: Names of concepts, or names joined by "+" for concepts erased jointly.
        allow_interference: Accept several shifts that are not separable; those in force together
            are accepted anyhow.

    Returns:
        The entries, in name order.

    Raises:
        SpecError: If it is not a set of names.
        NotErased: If the ledger never held a name.
        NotSeparable: If only some of the concepts of a joint shift are named.
        Interference: If the shifts would disturb each other.

    Example:
        >>> entries_for(Ledger("sha256:0"), set())
        ()
    """
    wanted = _parts(names)
    chosen = {entry.name: entry for entry in (ledger.entry(name) for name in sorted(wanted))}
    entries = tuple(chosen[name] for name in sorted(chosen))
    if sorted(name for entry in entries for name in entry.names) != sorted(wanted):
        raise NotSeparable(
            f"{sorted(wanted)} cannot be erased by themselves: the ledger holds {sorted(chosen)}, "
            "and concepts erased jointly act together. Name all of them or none."
        )
    joint = [entry for entry in entries if not entry.separable]
    together = allow_interference or all(entry.active for entry in joint)
    if len(joint) > 1 and not together:
        raise Interference(
            f"{[entry.name for entry in joint]} would be active together, but "
            f"{joint[0].method!r} is not separable: each was fitted as if it were alone. Fit the "
            "concepts together, put them in different rows, or allow interference."
        )
    return entries


def _parts(names: Iterable[str]) -> set[str]:
    """The concepts behind names, which "+" may join."""
    if isinstance(names, str):
        raise SpecError(f"expected a set of names, got the string {shown(names)}; put it in {{}}.")
    given = tuple(names) if isinstance(names, Iterable) else (names,)
    for name in given:
        if not isinstance(name, str):
            raise SpecError(f"expected a set of names, got {shown(name)} in place of a name.")
    return {part for name in given for part in name.split("+")}
