"""Puts a model into the states of a scene, fitting each shift once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sepme.bench.fits import fitted, view
from sepme.bench.store import Store
from sepme.bench.timeline import State
from sepme.core.concept import Concept
from sepme.core.method import Method
from sepme.core.reproject import reproject

if TYPE_CHECKING:
    from sepme.core.backend import Backend
    from sepme.pipeline import ErasedPipeline


class Stage:
    """A scene's own view of a model: nothing is erased at its start, and again at its end.

    Shifts of a separable method are made when their concepts are first named, decoupled from all
    that is known by then, and stay as they are. A method that is not separable cannot give one of
    several concepts back, so it is fitted anew on what is left to forget.

    Args:
        model: The model.
        method: The method.
        concepts: c0 to c8.
        store: Where fits are kept between runs.
        seed: Seed of the fits.
        amplify: How earlier shifts are made to leave alone what comes up later, as for
            `sepme.reproject`; None if they are not.
    """

    def __init__(
        self,
        model: ErasedPipeline,
        *,
        method: Method,
        concepts: Sequence[Concept],
        store: Store,
        seed: int,
        amplify: float | None = None,
    ) -> None:
        """Start with nothing erased."""
        self.model = view(model)
        self._method, self._concepts = method, concepts
        self._store, self._seed, self._amplify = store, seed, amplify

    def enter(self, state: State) -> None:
        """Bring the model from the state before into this one.

        Args:
            state: The next state of the scene.
        """
        chosen = [self._concepts[i] for i in state.step.erase]
        if not self._method.separable:
            chosen = [self._concepts[i] for i in state.forgotten]
            self.leave()
        elif state.step.restore:
            self.model.restore(*(self._concepts[i].name for i in state.step.restore))
        if chosen:
            shifts = fitted(self.model, self._method, chosen, store=self._store, seed=self._seed)
            self.model.erase(*shifts, allow_interference=True)
            if self._amplify is not None:
                self._spare(chosen, self._amplify)

    def _spare(self, chosen: Sequence[Concept], amplify: float) -> None:
        """Make the earlier shifts in force leave some concepts alone."""
        names = {concept.name for concept in chosen}
        for shift in self.model.shifts:
            if shift.name not in names and not names <= set(shift.decoupled_from):
                self.model.erase(reproject(shift, self.model, amplify=amplify))

    def leave(self) -> None:
        """Give everything back."""
        if self.model.erased:
            self.model.restore(*self.model.erased)


@contextmanager
def staged(stage: Stage) -> Iterator[Stage]:
    """Leave the stage whatever happens."""
    try:
        yield stage
    finally:
        stage.leave()


def leak(model: ErasedPipeline, concept: Concept) -> float:
    """How far the active shifts that do not list a concept move its keys and values.

    ``max_l ||sum_i dW_i,l E^T|| / ||W0_l E^T||`` over text sites, ``E`` the rows of the concept's
    own prompts; 0 if every active shift lists it.

    Args:
        model: The model in some state.
        concept: The concept.
    """
    strangers = [shift for shift in model.shifts if concept.name not in shift.decoupled_from]
    if not strangers:
        return 0.0
    rows = _rows(model, concept)
    ratios = []
    for site, weight in model.sites().items():
        moved = sum(
            (
                shift.payload.delta(site, weight) @ rows
                for shift in strangers
                if site in shift.payload.sites
            ),
            torch.zeros(()),
        )
        ratios.append(float(moved.norm() / (weight.double().cpu() @ rows).norm()))
    return max(ratios)


def kept(model: ErasedPipeline, concept: Concept) -> float | None:
    """What reprojecting has left of the effect of a concept's active shift.

    Args:
        model: The model in some state.
        concept: The concept.

    Returns:
        A ratio, as `sepme.reproject` tells it; None if the shift is as it was fitted.
    """
    own = [shift.provenance.fit for shift in model.shifts if shift.name == concept.name]
    return float(own[0]["kept"] or 0.0) if own and "kept" in own[0] else None


def _rows(model: Backend, concept: Concept) -> Tensor:
    return model.encode(concept.prompts).flatten(0, 1).double().cpu().T
