"""SepME in text space: separable maps of concepts to their anchors, in closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sepme.core.backend import CROSS_ATTN_KV, Backend
from sepme.core.concept import BLANK, Concept
from sepme.core.listing import apart, listed
from sepme.core.method import Method, from_paper
from sepme.core.record import Scalar
from sepme.core.shift import ConceptShift
from sepme.core.text_shift import TextShift
from sepme.errors import NullSpaceExhausted
from sepme.linalg.low_rank import LowRank, compress
from sepme.linalg.null_space import null_space, separability
from sepme.linalg.text_map import RTOL_FLOAT32
from sepme.linalg.text_system import Moments, TextSystem, pooled
from sepme.methods._rows import Pairs, all_rows, encoded, pairs
from sepme.methods._spans import last_token
from sepme.methods._templates import wordings


@dataclass(frozen=True, kw_only=True)
class SepMEText(Method):
    """Send a concept's rows to its anchor's by the smallest map that leaves all others alone.

    One map ``M`` of text space serves every site, ``dW = W0 M``, and comes out of one linear
    system without a single step of the U-Net. The concept is given by families of prompts, its own
    and everyday sentences that name it, and so is everything it must leave alone. Where the listed
    prompts of the others leave enough room, the map lives in their null space and leaves them alone
    exactly (SRS-ME, eq. 22-25, in text space); where they do not, they are left alone in the mean
    square. Maps of several concepts add up to the solution for all of them.

    Args:
        lamb: Weight of a small map (squared row norms).
        sentences: Everyday sentences for each concept besides its own prompts.
        rank: Rank of a map at most; 0 for all.
        least: Separability from which on the null space is used, 0 to 1; above 1 never.
        rtol: Singular values of listed rows below this share of the largest count as zero.
        target_modules: Sites to change, a regular expression for the module path.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = SepMEText(rank=4).resolve()
        >>> chosen.rank, chosen.sentences, chosen.least
        (4, 10, 0.3)
    """

    name: ClassVar[str] = "sepme-text"
    paper: ClassVar[str] = "https://arxiv.org/abs/2402.05947"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "closed-form"
    separable: ClassVar[bool] = True
    restorable: ClassVar[str] = "any one concept; exactly on listed prompts while there is room"
    cost: ClassVar[str] = "one linear system as wide as the text embedding, no image"

    lamb: float = from_paper(2.0, above=0)
    sentences: int = from_paper(10, least=0)
    rank: int = from_paper(0, least=0)
    least: float = from_paper(0.3, above=0)
    rtol: float = from_paper(1e-6, above=0, most=1)
    target_modules: str = from_paper(CROSS_ATTN_KV)

    def fit(
        self, model: Backend, concept: Concept, *, retain: Sequence[Concept] = (), seed: int = 0
    ) -> ConceptShift:
        """Solve for the map of one concept.

        Args:
            model: The model.
            concept: What to erase, and the anchor its rows are sent to.
            retain: What to leave alone, besides ``model.known``.
            seed: Not used: nothing is random.

        Returns:
            The shift; ``provenance.fit`` tells its rank, the separability of the concept, and
            whether the others are left alone exactly.

        Raises:
            NotSeparable: If the concept is to be left alone too.
            MethodError: If its prompts have the embedding of its anchor.
        """
        return self.fit_many(model, (concept,), retain=retain, seed=seed)[0]

    def fit_many(
        self,
        model: Backend,
        concepts: Sequence[Concept],
        *,
        retain: Sequence[Concept] = (),
        seed: int = 0,
    ) -> tuple[ConceptShift, ...]:
        """Solve for the maps of several concepts, each of which leaves the others alone.

        Args:
            model: The model.
            concepts: What to erase.
            retain: What to leave alone, besides ``model.known``.
            seed: Not used: nothing is random.

        Returns:
            One shift per concept, in the order given.

        Raises:
            NotSeparable: If a concept is to be left alone too.
            MethodError: If a concept comes twice, or has the embedding of its anchor.
        """
        retained = zip(concepts, apart(model, concepts, retain), strict=True)
        others = {concept: listed(model, concept, alone) for concept, alone in retained}
        chosen = self.resolve(model.presets.get(self.name))
        return chosen._solve(model, others, seed) if others else ()

    def _solve(
        self, model: Backend, others: Mapping[Concept, tuple[Concept, ...]], seed: int
    ) -> tuple[ConceptShift, ...]:
        everything = dict.fromkeys((*others, *(o for alone in others.values() for o in alone)))
        moved = {concept: self._moments(self._family(model, concept)) for concept in others}
        still = [self._still(model, c) for c in everything if c not in moved]
        known = (*moved.values(), *still)
        soft = TextSystem(known, lamb=self.lamb)
        sites = tuple(model.sites(self.target_modules))
        found = []
        for concept, alone in others.items():
            basis, facts = self._room(model, concept, alone)
            system = soft if basis is None else TextSystem(known, lamb=self.lamb, basis=basis)
            change = self._cut(system.map(moved[concept]))
            payload = TextShift(change.left.float(), change.right.float(), sites)
            told = {**facts, "rank": len(change.right), "rows": len(moved[concept].rows)}
            found.append(
                ConceptShift(
                    concepts=(concept,),
                    payload=payload,
                    decoupled_from=tuple(o.name for o in alone) if basis is not None else (),
                    separable=self.separable,
                    provenance=self.provenance(model, seed=seed, fit=told),
                )
            )
        return tuple(found)

    def _family(self, model: Backend, concept: Concept) -> Pairs:
        """Rows of the concept's own prompts and of sentences that name it, each with its goal."""
        own = pairs(model, (concept,), "to-end")
        said = wordings(replace(concept, prompts=concept.prompts[:1]))[: self.sentences]
        more = [_aligned(model, wording.target, wording.anchor) for wording in said]
        targets, anchors = (torch.cat(part) for part in zip(own, *more, strict=True))
        return Pairs(targets, anchors)

    def _moments(self, family: Pairs) -> Moments:
        return pooled(family.targets, family.anchors - family.targets)

    def _still(self, model: Backend, concept: Concept) -> Moments:
        """What is left alone of a concept: every row of its prompts and of its sentences."""
        said = wordings(concept)[: self.sentences] if concept != BLANK else ()
        rows = torch.cat(
            [all_rows(model, (concept,)), *(encoded(model, (w.target,))[0] for w in said)]
        )
        return pooled(rows, torch.zeros_like(rows))

    def _room(
        self, model: Backend, concept: Concept, others: Sequence[Concept]
    ) -> tuple[Tensor | None, dict[str, Scalar]]:
        """Directions no listed prompt uses, if they tell the concept apart well enough."""
        try:
            space = null_space(all_rows(model, others), rtol=self.rtol)
        except NullSpaceExhausted:
            return None, {"exact": False, "separability": 0.0}
        own, blank = model.encode(concept.prompts), model.encode(BLANK.prompts)
        share = separability(own, blank, space)
        exact = share >= self.least
        return space.basis if exact else None, {"exact": exact, "separability": share}

    def _cut(self, change: LowRank) -> LowRank:
        """The map at the rank that is wanted, and no finer than float32 can hold."""
        whole = compress([change], rtol=RTOL_FLOAT32)
        if not self.rank or len(whole.right) <= self.rank:
            return whole
        return LowRank(whole.left[:, : self.rank], whole.right[: self.rank])


def _aligned(model: Backend, target: str, anchor: str) -> Pairs:
    """Rows of a sentence from its last token on, and the anchor's at the same distance."""
    rows, goals = encoded(model, (target, anchor))
    here, there = last_token(model, target), last_token(model, anchor)
    count = len(rows) - max(here, there)
    return Pairs(rows[here : here + count], goals[there : there + count])
