"""ConceptPrune: set the few weights to zero that a concept needs most, early in the drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.core.listing import apart, listed
from sepme.core.method import Method, from_paper
from sepme.core.record import Scalar
from sepme.core.shift import ConceptShift
from sepme.core.sparse_shift import SparseShift
from sepme.errors import MethodError, SpecError, shown
from sepme.linalg.skilled import skilled

_THINGS = ("cat", "dog", "house", "tree", "car", "boat", "bird", "flower", "mountain", "chair")
_PLACES = (
    "room",
    "garden",
    "forest",
    "street",
    "field",
    "kitchen",
    "park",
    "desert",
    "city",
    "bay",
)


@dataclass(frozen=True, kw_only=True)
class ConceptPrune(Method):
    """Find the weights of a concept by what they read while it is drawn, and set them to zero.

    In the second layer of every feed-forward network a weight scores ``|W_ij| n_j``, with ``n_j``
    the size of its input feature at a timestep. Those among the largest of their row for prompts
    with the concept, and larger there than for prompts without it, are the concept's at that
    timestep; those of any of the first timesteps become zero. Nothing is trained. No prompt is left
    alone for certain, and several concepts share one shift, the union of theirs. The positions tell
    which concept it is to whoever has the shift, or the pruned weights
    (https://arxiv.org/abs/2603.06640).

    Args:
        ratio: Share of each row that may count at a timestep (paper: 0.01 for styles, 0.02 for
            objects).
        early: tau, first timesteps that count (paper: 9 or 10).
        steps: Denoising steps of a whole image; only the first ``early`` are run.
        style_contexts: Pairs of prompts for styles, ``"with {} | without"``, separated by
            semicolons; ``{}`` is the concept.
        other_contexts: The same for everything else.
        target_modules: Sites to prune, a regular expression for the module path.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = ConceptPrune(ratio=0.02).resolve()
        >>> chosen.ratio, chosen.early, chosen.steps
        (0.02, 10, 50)
    """

    name: ClassVar[str] = "conceptprune"
    paper: ClassVar[str] = "https://arxiv.org/abs/2405.19237"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "closed-form"
    separable: ClassVar[bool] = False
    together: ClassVar[bool] = True
    restorable: ClassVar[str] = "all concepts of one union together, exactly"
    cost: ClassVar[str] = "the first steps of a few dozen images, no training"

    ratio: float = from_paper(0.01, above=0, most=1)
    early: int = from_paper(10, above=0)
    steps: int = from_paper(50, above=0)
    style_contexts: str = from_paper(
        "; ".join(f"a {thing} in the style of {{}} | a photo of a {thing}" for thing in _THINGS)
    )
    other_contexts: str = from_paper(
        "; ".join(f"a {{}} in a {place} | a photo of a {place}" for place in _PLACES)
    )
    target_modules: str = from_paper(r".*\.ff\.net\.2")

    def fit(
        self, model: Backend, concept: Concept, *, retain: Sequence[Concept] = (), seed: int = 0
    ) -> ConceptShift:
        """Find a concept's weights and return the shift that sets them to zero.

        Args:
            model: The model.
            concept: What to erase.
            retain: Drawn besides the contexts to see what else a weight is for; so is
                ``model.known``.
            seed: Seed of the images.

        Returns:
            The shift; its ``provenance.fit`` tells how many weights it sets to zero, their share of
            all weights of the sites, and that the positions tell the concept.

        Raises:
            NotSeparable: If the concept is to be left alone too.
            MethodError: If no weight is the concept's.
        """
        return self._union(model, (concept,), listed(model, concept, retain), seed)

    def fit_here(
        self,
        model: Backend,
        concepts: Sequence[Concept],
        *,
        retain: Sequence[Concept] = (),
        seed: int = 0,
    ) -> tuple[ConceptShift, ...]:
        """Set to zero what any of several concepts needs; they are restored together only.

        Args:
            model: The model.
            concepts: What to erase.
            retain: As for `fit`.
            seed: Seed of the images.

        Returns:
            One shift that names all concepts; none for no concepts.

        Raises:
            MethodError: If two concepts have one name, or no weight is one's own.
        """
        if not concepts:
            return ()
        everything = zip(concepts, apart(model, concepts, retain), strict=True)
        others = dict.fromkeys(o for c, alone in everything for o in listed(model, c, alone))
        names = {concept.name for concept in concepts}
        left = tuple(other for other in others if other.name not in names)
        return (self._union(model, concepts, left, seed),)

    def _union(
        self, model: Backend, concepts: Sequence[Concept], others: Sequence[Concept], seed: int
    ) -> ConceptShift:
        chosen = self.resolve(model.presets.get(self.name))
        sites = model.sites(chosen.target_modules)
        masks = {site: torch.zeros_like(w, dtype=torch.bool) for site, w in sites.items()}
        plain = dict.fromkeys(prompt for other in others for prompt in other.prompts)
        for concept in concepts:
            for site, mask in chosen._masks(model, concept, tuple(plain), seed, sites).items():
                masks[site] |= mask
        payload = SparseShift.zeroing(sites, masks)
        return ConceptShift(
            concepts=tuple(concepts),
            payload=payload,
            decoupled_from=(),
            separable=self.separable,
            provenance=chosen.provenance(model, seed=seed, fit=_facts(masks)),
        )

    def _masks(
        self,
        model: Backend,
        concept: Concept,
        others: Sequence[str],
        seed: int,
        sites: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Where one concept's weights are, at every site."""
        pairs = self._pairs(concept)
        target = self._norms(model, [prompt for prompt, _ in pairs], seed)
        base = self._norms(model, [*(prompt for _, prompt in pairs), *others], seed)
        masks = {
            site: skilled(weight, target[site], base[site], ratio=self.ratio)
            for site, weight in sites.items()
        }
        if not any(mask.any() for mask in masks.values()):
            raise MethodError(
                f"no weight matters more for {concept.name!r} than without it. Try a larger ratio, "
                "or contexts that differ by the concept only."
            )
        return masks

    def _pairs(self, concept: Concept) -> list[tuple[str, str]]:
        """Prompts with the concept, each with one that differs by it."""
        text = self.style_contexts if concept.kind == "style" else self.other_contexts
        pairs = [tuple(part.strip() for part in pair.split("|")) for pair in text.split(";")]
        for pair in pairs:
            if len(pair) != 2 or "{}" not in pair[0]:
                raise SpecError(
                    "contexts must be pairs such as 'a cat by {} | a cat', separated by "
                    f"semicolons, got {shown(' | '.join(pair))}."
                )
        return [
            (pair[0].replace("{}", prompt), pair[1]) for prompt in concept.prompts for pair in pairs
        ]

    def _norms(self, model: Backend, prompts: Sequence[str], seed: int) -> Mapping[str, Tensor]:
        seeds = range(seed, seed + len(prompts))
        return model.input_norms(
            self.target_modules, prompts, seeds=seeds, steps=self.steps, first=self.early
        )


def _facts(masks: Mapping[str, Tensor]) -> dict[str, Scalar]:
    """What is to be told of a pruning."""
    pruned = sum(int(mask.sum()) for mask in masks.values())
    return {
        "pruned": pruned,
        "share": pruned / sum(mask.numel() for mask in masks.values()),
        "positions": "tell the concept to whoever has them (https://arxiv.org/abs/2603.06640)",
    }
