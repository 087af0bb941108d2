"""What every optimisation has: steps, a stop, a progress bar, and a way to be taken up again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm

from sepme.core.backend import Backend
from sepme.core.concept import Concept
from sepme.core.method import Method
from sepme.core.record import Scalar, canonical_json
from sepme.core.state import State, Stateful, gathered, keeper, spread
from sepme.errors import Diverged

STOP_AFTER = 10
"""Steps that always run before the momentum stop may fire."""

_SMOOTHING = 0.9
"""Of a running loss that is shown and recorded but stops nothing."""


@dataclass(frozen=True, slots=True)
class Step:
    """One optimisation step, as handed to ``on_step``.

    Attributes:
        number: Counted from 1.
        loss: Loss of this step, measured before its update (dimensionless).
        momentum: Running statistic that the stop compares with its threshold (dimensionless).
        stopped: Whether the momentum stop fired here.
    """

    number: int
    loss: float
    momentum: float
    stopped: bool


OnStep = Callable[[Step], None]


class MomentumStop:
    """Stop once the running loss has come down to a threshold (SRS-ME, eq. 37).

    ``L_mom`` starts at the first loss, then ``L_mom <- alpha L_mom + (1 - alpha) L``; the stop
    fires at the first step after the tenth with ``L_mom <= tau``.

    Args:
        decay: alpha, 0 to 1 (dimensionless).
        threshold: tau (dimensionless, in units of the loss); minus infinity never stops.
    """

    def __init__(self, decay: float, threshold: float) -> None:
        self.decay, self.threshold = decay, threshold
        self.momentum = math.nan
        self.steps = 0
        self.stopped = False

    @classmethod
    def never(cls) -> MomentumStop:
        """One that keeps the running loss and lets the fit take all its steps."""
        return cls(_SMOOTHING, -math.inf)

    def update(self, loss: float) -> Step:
        """Take in the loss of one step and tell where that leaves the fit.

        Args:
            loss: The loss.

        Returns:
            The step; training ends with the first that has ``stopped``.

        Raises:
            Diverged: If the loss is not a finite number.
        """
        self.steps += 1
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss became {loss} at step {self.steps}; expected a finite number. "
                "Try a tenth of the learning rate or of the scale."
            )
        first = self.steps == 1
        self.momentum = loss if first else self.decay * self.momentum + (1 - self.decay) * loss
        self.stopped = self.steps > STOP_AFTER and self.momentum <= self.threshold
        return Step(self.steps, loss, self.momentum, self.stopped)

    def facts(self) -> dict[str, Scalar]:
        """What is to be told of the training: steps, statistic, and whether the stop fired."""
        facts: dict[str, Scalar] = {"steps": self.steps, "momentum": self.momentum}
        return facts if self.threshold == -math.inf else facts | {"stopped": self.stopped}

    def state(self) -> State:
        """Steps, statistic, and whether the stop fired, as tensors."""
        numbers = torch.tensor([self.steps, self.momentum, self.stopped], dtype=torch.float64)
        return {"stop": numbers}

    def load(self, state: State) -> None:
        """Go on from there."""
        steps, self.momentum, stopped = state["stop"].tolist()
        self.steps, self.stopped = int(steps), bool(stopped)


def told(
    method: Method, model: Backend, concepts: Mapping[Concept, Sequence[Concept]], seed: int
) -> str:
    """All that a fit depends on, as text.

    Args:
        method: The method, resolved.
        model: The model.
        concepts: What is erased, each with what it must leave alone.
        seed: Seed of the fit.
    """
    listed = [[c.to_dict(), [other.to_dict() for other in alone]] for c, alone in concepts.items()]
    origin = method.provenance(model, seed=seed).to_dict()
    return canonical_json({"concepts": listed, "provenance": origin})


def run(
    steps: Iterable[Step],
    label: str,
    total: int,
    on_step: OnStep | None,
    *,
    parts: Mapping[str, Stateful],
    what: str,
) -> None:
    """Run steps to their end, showing loss, momentum and time, and calling ``on_step`` for each.

    Where somebody keeps the states of fits, the parts go on from what is kept of them.

    Args:
        steps: A lazy optimisation, one item after every step; it begins where its parts are.
        label: Shown beside the bar.
        total: Steps at most.
        on_step: Called after every step; what it raises ends the optimisation.
        parts: All that changes from step to step.
        what: All that the result depends on, as `told`.

    Raises:
        MethodError: If what is kept is of another fit.
    """
    who = keeper()
    if who is not None and (state := who.begin(f"{label}: {what}")) is not None:
        spread(parts, state)
    with tqdm(desc=label, total=total, unit="step", leave=False) as bar:
        for step in steps:
            bar.set_postfix(loss=f"{step.loss:.2e}", momentum=f"{step.momentum:.2e}", refresh=False)
            bar.update(step.number - bar.n)
            if who is not None:
                who.keep(lambda: gathered(parts))
            if on_step is not None:
                on_step(step)
    if who is not None:
        who.keep(lambda: gathered(parts), done=True)
