"""A model with a ledger: what it has erased, and what single prompts are to be drawn without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Self

from sepme.backends.delegate import Delegate
from sepme.backends.stable_diffusion import IMAGES_AT_ONCE, StableDiffusion
from sepme.core.concept import Concept
from sepme.core.ledger import Ledger
from sepme.core.policy import Policies, actives_of
from sepme.core.shift import ConceptShift
from sepme.core.side_path import Strengths
from sepme.errors import SpecError, shown

if TYPE_CHECKING:
    from PIL.Image import Image


class Ledgered(Delegate):
    """A delegate that knows shifts by the names of their concepts.

    Args:
        backend: The model.
    """

    def __init__(self, backend: StableDiffusion) -> None:
        """Start with an empty ledger."""
        super().__init__(backend)
        self.ledger = Ledger(backend.fingerprint)
        self._shifts: dict[str, ConceptShift] = {}
        self._policies = Policies()

    @property
    def erased(self) -> tuple[str, ...]:
        """Names of the erased concepts, sorted."""
        return self.ledger.erased

    @property
    def known(self) -> tuple[Concept, ...]:
        """What every new shift leaves alone: blank, watermarks, all the ledger ever held."""
        return (*self.backend.known, *self.ledger.known)

    @property
    def shifts(self) -> tuple[ConceptShift, ...]:
        """The active shifts, in name order."""
        return tuple(self._shifts[entry.shift] for entry in self.ledger.active)

    def shift(self, name: str) -> ConceptShift:
        """The shift of a concept, whether it is erased or restored at the moment.

        Args:
            name: The concept's name.

        Returns:
            The shift.

        Raises:
            NotErased: If this pipeline never held the concept.
        """
        return self._shifts[self.ledger.entry(name).shift]

    @contextmanager
    def policies(
        self,
        erased: Sequence[Iterable[str]],
        *,
        images_per_prompt: int = 1,
        allow_interference: bool = False,
    ) -> Iterator[Self]:
        """Give every prompt of a batch its own erased set inside a ``with`` block.

        The weights are not written: each row is worked out beside the pristine ones, and equals
        what they would give with its set folded in, up to rounding; a row with the empty set
        equals the pristine model bit for bit. What the ledger has in force does not act inside.
        Under guidance the unconditional row of a prompt has the prompt's set.

        Args:
            erased: One set of names for each prompt of every batch inside the block. A name is a
                concept that the ledger holds, erased or restored at the moment; it acts with the
                strength it has there.
            images_per_prompt: As the pipeline inside is told (``num_images_per_prompt``).
            allow_interference: Accept a set with several shifts that are not separable and not in
                force together.

        Yields:
            This pipeline.

        Raises:
            NotErased: If this pipeline never held a concept.
            NotSeparable: If a set names only some of the concepts of a joint shift.
            Interference: If shifts of one set would disturb each other.
            MethodError: If a shift changes a convolution, which rows cannot have to themselves.
            SpecError: If this is not a list of sets.
        """
        actives = actives_of(
            self.ledger, self._shifts, erased, allow_interference=allow_interference
        )
        with self._policed(actives, images_per_prompt=images_per_prompt):
            yield self

    def _policed(
        self, actives: Sequence[Strengths], *, images_per_prompt: int = 1
    ) -> AbstractContextManager[None]:
        policy = self._policies.policy(self.backend, actives, images_per_prompt=images_per_prompt)
        return self.backend.policed(policy)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        steps: int = 25,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        erased: Sequence[Iterable[str]] | None = None,
    ) -> list[Image]:
        """Draw one image for each prompt and seed.

        Args:
            prompts: ``n`` prompts.
            seeds: ``n`` seeds.
            steps: DDIM steps.
            guidance_scale: Classifier-free guidance; None is the model's own default.
            negative_prompt: What to steer away from.
            erased: For each prompt the set of names that it is drawn without, as in `policies`;
                None is what the ledger has in force, for all of them.

        Returns:
            ``n`` images.

        Raises:
            SpecError: If there is not one set for each prompt.
            NotErased: If this pipeline never held a concept; nothing is drawn then.
            NotSeparable: If a set names only some of the concepts of a joint shift.
            Interference: If shifts of one set would disturb each other and are not in force
                together; `policies` can allow it.
            MethodError: If a shift changes a convolution.
        """
        draw = partial(
            super().generate,
            steps=steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
        )
        if erased is None:
            return draw(prompts, seeds=seeds)
        chunks, images = _chunks(prompts, seeds, erased), []
        actives = actives_of(self.ledger, self._shifts, erased)
        for chunk in chunks:
            with self._policed(actives[chunk]):
                images += draw(prompts[chunk], seeds=seeds[chunk])
        return images


def _chunks(
    prompts: Sequence[str], seeds: Sequence[int], erased: Sequence[Iterable[str]]
) -> list[slice]:
    """The batches a backend draws in, so that each gets a policy of its own."""
    count = len(prompts)
    sets = isinstance(erased, Sequence) and not isinstance(erased, str)
    if not sets or len(erased) != count or len(seeds) != count:
        raise SpecError(
            f"{count} prompts need {count} seeds and a list of {count} sets of names, "
            f"got {len(seeds)} seeds and {shown(erased)}."
        )
    return [slice(start, start + IMAGES_AT_ONCE) for start in range(0, count, IMAGES_AT_ONCE)]
