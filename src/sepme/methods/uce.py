"""UCE: unified concept editing, a closed form that maps concepts to their anchors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from sepme.core.backend import CROSS_ATTN_KV, Backend
from sepme.core.concept import Concept
from sepme.core.method import from_paper
from sepme.core.text_shift import TextShift
from sepme.linalg.low_rank import LowRank
from sepme.linalg.text_map import RTOL_FLOAT32, text_map
from sepme.methods._rows import Pairs, all_rows, pairs, text_facts
from sepme.methods._together import Solution, Together


@dataclass(frozen=True, kw_only=True)
class UCE(Together):
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
        prompts: ``"own"`` maps the concept's prompts; ``"expanded"`` also its first prompt in five
            templates of its kind (official code: an option with templates of its own).
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
    restorable: ClassVar[str] = "all concepts of one solve together, exactly"
    cost: ClassVar[str] = "one linear system as wide as the text embedding, no image"

    erase_scale: float = from_paper(1.0, above=0)
    preserve_scale: float = from_paper(1.0, least=0)
    lamb: float = from_paper(0.5, above=0)
    rows: Literal["to-end", "last"] = from_paper("to-end", one_of=("to-end", "last"))
    prompts: Literal["own", "expanded"] = from_paper("own", one_of=("own", "expanded"))
    target_modules: str = from_paper(CROSS_ATTN_KV)

    def _solve(
        self, model: Backend, concepts: tuple[Concept, ...], others: tuple[Concept, ...], seed: int
    ) -> Solution:
        moved = pairs(model, concepts, self.rows, self.prompts)
        retained = all_rows(model, others)
        found = self._map(moved, retained)
        sites = tuple(model.sites(self.target_modules))
        payload = TextShift(found.left.float(), found.right.float(), sites)
        return Solution(payload, text_facts(found, moved, retained))

    def _map(self, moved: Pairs, retained: Tensor) -> LowRank:
        return text_map(
            moved.targets,
            moved.anchors,
            retained,
            erase_scale=self.erase_scale,
            preserve_scale=self.preserve_scale,
            lamb=self.lamb,
            rtol=RTOL_FLOAT32,
        )
