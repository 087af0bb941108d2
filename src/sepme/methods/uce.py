"""UCE: unified concept editing, a closed form that maps concepts to their anchors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sepme.core.backend import CROSS_ATTN_KV, Backend
from sepme.core.concept import Concept
from sepme.core.listing import apart, listed
from sepme.core.method import Method, from_paper
from sepme.core.record import Scalar
from sepme.core.shift import ConceptShift
from sepme.core.text_shift import TextShift
from sepme.errors import MethodError
from sepme.linalg.low_rank import LowRank
from sepme.linalg.text_map import text_map

_CHANGED = 1e-3
"""Share of its norm by which a row that sees another token moves, at least."""

_RTOL = 1e-7
"""What is left of a text map below this is lost in float32."""


@dataclass(frozen=True, kw_only=True)
class UCE(Method):
    """Map the embeddings of a concept to those of its anchor, by one linear solve.

    Every weight ``W`` becomes the ``W'`` that minimises ``s_e sum |W'c - W c*|^2 +
    s_p sum |W'r - W r|^2 + lam |W' - W|^2`` over the concept's rows ``c``, the anchor's rows
    ``c*`` and all rows ``r`` of what is to be left alone (UCE, closed form). That is
    ``W' = W (I + M)`` with one ``M`` for all sites, which is all that is stored. What is left
    alone is so approximately: nothing is guaranteed, and two such shifts disturb each other, so
    several concepts are solved together.

    Args:
        erase_scale: s_e, weight of the concept's rows (paper: 1).
        preserve_scale: s_p, weight of what is left alone (paper: 1).
        lamb: lambda, weight of leaving every direction alone (official code: 0.5).
        rows: ``"to-end"`` maps the rows from the prompt's last token to the end of the text
            window, as for the paper's figures; ``"last"`` only that of the last token.
        target_modules: Sites to change, a regular expression for the module path.

    Raises:
        SpecError: If a value is out of range.

    Example:
        >>> chosen = UCE(rows="last").resolve({"lamb": 0.1})
        >>> chosen.rows, chosen.lamb, chosen.erase_scale
        ('last', 0.1, 1.0)
    """

    name: ClassVar[str] = "uce"
    paper: ClassVar[str] = "https://arxiv.org/abs/2308.14761"
    kind: ClassVar[Literal["trained", "closed-form", "guard"]] = "closed-form"
    separable: ClassVar[bool] = False
    together: ClassVar[bool] = True
    restorable: ClassVar[str] = "all concepts of one solve together, exactly"
    cost: ClassVar[str] = "one linear system as wide as the text embedding, no image"

    erase_scale: float = from_paper(1.0, above=0)
    preserve_scale: float = from_paper(1.0, least=0)
    lamb: float = from_paper(0.5, above=0)
    rows: Literal["to-end", "last"] = from_paper("to-end", one_of=("to-end", "last"))
    target_modules: str = from_paper(CROSS_ATTN_KV)

    def fit(
        self, model: Backend, concept: Concept, *, retain: Sequence[Concept] = (), seed: int = 0
    ) -> ConceptShift:
        """Solve for the shift that makes the model draw the anchor instead of the concept.

        Args:
            model: The model.
            concept: What to erase, and the anchor it is mapped to.
            retain: What to leave alone as far as possible, besides ``model.known``.
            seed: Only recorded: nothing is random.

        Returns:
            The shift; its ``provenance.fit`` tells the rows moved and retained, the rank, the
            residual (share of the way to the anchor that is left) and how far the worst
            retained row is moved (relative to its norm).

        Raises:
            NotSeparable: If the concept is to be left alone too.
            MethodError: If concept and anchor have the same embedding.
        """
        return self._solved(model, (concept,), listed(model, concept, retain), seed)

    def fit_many(
        self,
        model: Backend,
        concepts: Sequence[Concept],
        *,
        retain: Sequence[Concept] = (),
        seed: int = 0,
    ) -> tuple[ConceptShift, ...]:
        """Solve for all concepts at once; they can be restored together only.

        Args:
            model: The model.
            concepts: What to erase.
            retain: What to leave alone as far as possible, besides ``model.known``.
            seed: Only recorded: nothing is random.

        Returns:
            One shift that names all concepts; none for no concepts.

        Raises:
            MethodError: If two concepts have one name, or one cannot be erased this way.
        """
        if not concepts:
            return ()
        everything = zip(concepts, apart(model, concepts, retain), strict=True)
        others = dict.fromkeys(o for c, alone in everything for o in listed(model, c, alone))
        names = {concept.name for concept in concepts}
        left = tuple(other for other in others if other.name not in names)
        return (self._solved(model, concepts, left, seed),)

    def _solved(
        self, model: Backend, concepts: Sequence[Concept], others: Sequence[Concept], seed: int
    ) -> ConceptShift:
        """The shift of several concepts; the same whatever order they come in."""
        chosen = self.resolve(model.presets.get(self.name))
        ordered = sorted(concepts, key=lambda concept: concept.name)
        pairs = [chosen._pairs(model, concept) for concept in ordered]
        targets, anchors = (torch.cat(part) for part in zip(*pairs, strict=True))
        prompts = dict.fromkeys(prompt for other in others for prompt in other.prompts)
        retained = _float64(model.encode(tuple(prompts)).flatten(0, 1))
        found = text_map(
            targets,
            anchors,
            retained,
            erase_scale=chosen.erase_scale,
            preserve_scale=chosen.preserve_scale,
            lamb=chosen.lamb,
            rtol=_RTOL,
        )
        sites = tuple(model.sites(chosen.target_modules))
        facts = _facts(found, targets, anchors, retained)
        return ConceptShift(
            concepts=tuple(ordered),
            payload=TextShift(found.left.float(), found.right.float(), sites),
            decoupled_from=(),
            separable=self.separable,
            provenance=chosen.provenance(model, seed=seed, fit=facts),
        )

    def _pairs(self, model: Backend, concept: Concept) -> tuple[Tensor, Tensor]:
        """Rows of all prompts of a concept, and the anchor's row for each: ``(n, d_text)``."""
        goal = _float64(model.encode((concept.anchor,))[0])
        start = _last_token(model, concept.anchor)
        targets, anchors = [], []
        for prompt in concept.prompts:
            rows, last = _float64(model.encode((prompt,))[0]), _last_token(model, prompt)
            count = 1 if self.rows == "last" else len(rows) - max(last, start)
            targets.append(rows[last : last + count])
            anchors.append(goal[start : start + count])
        here, there = torch.cat(targets), torch.cat(anchors)
        if torch.equal(here, there):
            raise MethodError(
                f"the prompts of {concept.name!r} have the embedding of its anchor "
                f"{concept.anchor!r}, so there is nothing to map. Give it another anchor."
            )
        return here, there


def _last_token(model: Backend, prompt: str) -> int:
    """Row of a prompt's last token; of the end token if the prompt is blank.

    Text encoders are causal: said twice, a prompt changes the rows after its last token only.
    """
    if not prompt.strip():
        return 1
    once, twice = model.encode((prompt, f"{prompt} {prompt}"))
    moved = torch.linalg.vector_norm((twice - once).float(), dim=1)
    changed = moved > _CHANGED * torch.linalg.vector_norm(once.float(), dim=1)
    if changed[:2].any():
        raise MethodError(
            f"what comes after {prompt!r} changes its own embedding; UCE needs a causal text "
            "encoder to find the prompt's last token. Use a method that does not."
        )
    end = int(changed.int().argmax()) if changed.any() else len(once) - 1  # a full window
    return end - 1


def _float64(rows: Tensor) -> Tensor:
    return rows.to("cpu", torch.float64)


def _facts(found: LowRank, targets: Tensor, anchors: Tensor, retained: Tensor) -> dict[str, Scalar]:
    """What is to be told of a solution."""
    gap = anchors - targets
    missed = gap - targets @ found.right.T @ found.left.T
    moved = torch.linalg.vector_norm(retained @ found.right.T @ found.left.T, dim=1)
    return {
        "rows": len(targets),
        "retained": len(retained),
        "rank": len(found.right),
        "residual": float(torch.linalg.matrix_norm(missed) / torch.linalg.matrix_norm(gap)),
        "moved": float((moved / torch.linalg.vector_norm(retained, dim=1)).max()),
    }
