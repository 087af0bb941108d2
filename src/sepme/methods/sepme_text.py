"""SepME in text space: separable maps of concepts to their anchors, in closed form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from torch import Tensor

from sepme.core.backend import CROSS_ATTN_KV, Backend, Encoder
from sepme.core.concept import BLANK, Concept
from sepme.core.gated_guard import GatedGuard
from sepme.core.listing import apart, listed
from sepme.core.method import Method, from_paper
from sepme.core.payload import Payload
from sepme.core.record import Scalar
from sepme.core.shift import ConceptShift
from sepme.core.text_shift import TextShift
from sepme.linalg.leave_one_out import rooms
from sepme.linalg.low_rank import LowRank
from sepme.linalg.null_space import NullSpace, separability
from sepme.linalg.text_system import TextSystem
from sepme.methods._anchoring import LAMB, POOLED, SENTENCES, WEIGHT
from sepme.methods._gates import Gates
from sepme.methods._rows import all_rows
from sepme.methods._statistics import Statistics


@dataclass(frozen=True, kw_only=True)
class SepMEText(Method):
    """Send a concept's rows to its anchor's by the smallest map that leaves all others alone.

    One map ``M`` of text space serves every site, ``dW = W0 M``, and comes out of one linear
    system without a single step of the U-Net. The concept is given by its own prompts and by
    everyday sentences that say it, pooled into a few rows by energy, and so is everything it must
    leave alone. Where the listed prompts of the others leave enough room, the map lives in their
    null space and leaves them alone exactly (SRS-ME, eq. 22-25, in text space); where they do not,
    they are left alone in the mean square. Maps of several concepts add up to the solution for all
    of them, as far as their rank and a null space of their own allow.

    Args:
        lamb: Weight of a small map (squared row norms).
        weight: How often the rows of a concept to erase count, those of the rest counting once.
        sentences: Everyday sentences for each concept besides its own prompts.
        pooled: Rows that stand for a concept at most; 0 for all.
        rank: Rank of a map at most; 0 for any.
        least: Separability from which on the null space is used, 0 to 1; above 1 never.
        rtol: Singular values of listed rows below this share of the largest count as zero.
        target_modules: Sites to change, a regular expression for the module path.
        gate: Whether the map acts on nothing but prompts that carry the concept; it is a guard
            then, for all text sites, and every other prompt keeps its rows bit for bit.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = SepMEText(rank=2).resolve()
        >>> chosen.rank, chosen.pooled, chosen.sentences
        (2, 8, 8)
    """

    name: ClassVar[str] = "sepme-text"
    paper: ClassVar[str] = "https://arxiv.org/abs/2402.05947"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "closed-form"
    separable: ClassVar[bool] = True
    together: ClassVar[bool] = True
    approximates: ClassVar[bool] = True
    restorable: ClassVar[str] = "any one concept; exactly on listed prompts while there is room"
    cost: ClassVar[str] = "one linear system as wide as the text embedding, no image"

    lamb: float = from_paper(LAMB, above=0)
    weight: float = from_paper(WEIGHT, above=0)
    sentences: int = from_paper(SENTENCES, least=0)
    pooled: int = from_paper(POOLED, least=0)
    rank: int = from_paper(4, least=0)
    least: float = from_paper(0.05, above=0)
    rtol: float = from_paper(1e-6, above=0, most=1)
    target_modules: str = from_paper(CROSS_ATTN_KV)
    gate: bool = from_paper(False)

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
        return self.fit_here(model, (concept,), retain=retain, seed=seed)[0]

    def fit_here(
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
        names = {concept.name for concept in others}
        everything = _in_order(
            {other for alone in others.values() for other in alone} | set(others)
        )
        statistics = Statistics(model, sentences=self.sentences, most=self.pooled)
        rows = {c: statistics.moved(c, weight=self.weight) for c in everything if c in others}
        staying = (statistics.still(c) for c in everything if c.name not in names)
        known = (*rows.values(), *staying)
        soft = TextSystem.of(known, lamb=self.lamb)
        spaces = self._rooms(statistics.reader, tuple(rows), everything)
        gates = Gates(statistics.reader, self.sentences)
        found = {}
        for concept, (space, facts) in spaces.items():
            hard = space and TextSystem.of(known, lamb=self.lamb, basis=space.basis)
            change = (hard or soft).map(rows[concept], rank=self.rank)
            told = {**facts, "rank": len(change.right), "rows": len(rows[concept].rows)}
            payload, more = self._payload(model, change, gates, concept, others[concept])
            spared = others[concept] if space or self.gate else ()
            found[concept] = ConceptShift(
                concepts=(concept,),
                payload=payload,
                decoupled_from=tuple(other.name for other in spared),
                separable=self.separable,
                provenance=self.provenance(model, seed=seed, fit=told | more),
            )
        return tuple(found[concept] for concept in others)

    def _payload(
        self,
        model: Backend,
        change: LowRank,
        gates: Gates,
        concept: Concept,
        others: tuple[Concept, ...],
    ) -> tuple[Payload, dict[str, Scalar]]:
        """The map as a shift of the weights or as a guard, and what is to be told of the latter."""
        left, right = change.left.float(), change.right.float()
        if not self.gate:
            return TextShift(left, right, tuple(model.sites(self.target_modules))), {}
        gate = gates.gate(concept, others)
        return GatedGuard(gate.discriminant, left, right, gate.threshold), gate.facts

    def _rooms(
        self, model: Encoder, concepts: Sequence[Concept], everything: Sequence[Concept]
    ) -> dict[Concept, tuple[NullSpace | None, dict[str, Scalar]]]:
        """For each concept the directions no listed prompt uses, if these tell it apart.

        What it meant before is left alone by all others, and not by itself.
        """
        said = {concept.name for concept in concepts}
        spaces = rooms(
            [(other,) for other in everything if other.name not in said],
            [tuple(other for other in everything if other.name == c.name) for c in concepts],
            partial(all_rows, model),
            rtol=self.rtol,
        )
        blank = model.encode(BLANK.prompts)
        found: dict[Concept, tuple[NullSpace | None, dict[str, Scalar]]] = {}
        for concept, space in zip(concepts, spaces, strict=True):
            share = _separability(model, concept, blank, space) if space else 0.0
            room = share >= self.least
            facts: dict[str, Scalar] = {"exact": room or self.gate, "separability": share}
            found[concept] = (space if room else None), facts
        return found


def _separability(model: Encoder, concept: Concept, blank: Tensor, space: NullSpace) -> float:
    rows = all_rows(model, (concept,))
    return separability(rows.reshape(-1, *blank.shape[-2:]), blank, space)


def _in_order(concepts: Iterable[Concept]) -> tuple[Concept, ...]:
    """Concepts in an order of their own, so that the same set gives the same bits."""
    return tuple(sorted(concepts, key=lambda concept: (concept.name, concept.prompts)))
