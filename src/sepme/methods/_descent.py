"""Gradient descent on the shifts of one concept, or of several concepts side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import mul
from typing import TypeAlias

import torch
from torch import Tensor

from sepme.core.state import State, Stateful, gathered, spread
from sepme.methods._changes import Change, Deltas
from sepme.methods._optimizers import load_optimizer, optimizer_state
from sepme.methods._training import MomentumStop, Step

Loss: TypeAlias = Callable[[Deltas], Tensor]
"""Loss of the model with some changes on the next batch; a differentiable scalar."""

Rule: TypeAlias = Callable[[Tensor, Deltas], Sequence[Tensor]]
"""What a loss asks of each change: its gradient, or what a method makes of it."""

MOST_BALANCE = 10.0
"""Largest balance factor, and the inverse of the smallest."""


def steepest(loss: Tensor, deltas: Deltas) -> Sequence[Tensor]:
    """The gradient of a loss in each change, zero in those it does not depend on."""
    return torch.autograd.grad(loss, list(deltas.values()), materialize_grads=True)


@dataclass(frozen=True, slots=True, eq=False)
class Learner:
    """One change with everything that trains it.

    Attributes:
        change: What is learned.
        loss: Called once a step, with the sum of all learners' changes.
        stop: Decides when this change is left as it is.
        optimizer: Of the change's parameters.
        penalty: lambda, weight of the L1 norm of the summed changes, averaged over sites.
        rule: Makes the gradient out of the loss.
        sources: What loss and rule draw from, each of which moves on with every step.
    """

    change: Change
    loss: Loss
    stop: MomentumStop
    optimizer: torch.optim.Optimizer
    penalty: float
    rule: Rule
    sources: Sequence[Stateful]

    @classmethod
    def of(
        cls,
        change: Change,
        loss: Loss,
        stop: MomentumStop,
        *,
        rate: float,
        penalty: float = 0.0,
        rule: Rule = steepest,
        sources: Sequence[Stateful],
    ) -> Learner:
        """A learner that trains with Adam, ``rate`` being its learning rate."""
        adam = torch.optim.Adam(change.parameters.values(), lr=rate, fused=True)
        return cls(change, loss, stop, adam, penalty, rule, sources)

    def state(self) -> State:
        """Parameters, and what the optimizer, the stop and the sources need to go on."""
        learned = {f"learned/{name}": tensor for name, tensor in self.change.parameters.items()}
        return {**learned, **optimizer_state(self.optimizer), **gathered(self._parts())}

    @torch.no_grad()
    def load(self, state: State) -> None:
        """Go on from there."""
        for name, tensor in self.change.parameters.items():
            tensor.copy_(state[f"learned/{name}"])
        load_optimizer(self.optimizer, state)
        spread(self._parts(), state)

    def _parts(self) -> dict[str, Stateful]:
        sources = {f"source {place}": source for place, source in enumerate(self.sources)}
        return {"stop": self.stop, **sources}

    def look(self, total: Deltas) -> tuple[float, Sequence[Tensor]]:
        """The loss under the summed changes, and its gradient in them unless the stop fires.

        The gradient is taken at once, so that only one learner's graph is alive at a time.
        """
        loss = self.loss(total)
        step = self.stop.update(loss.item())
        return step.loss, () if step.stopped else self.rule(loss, total)

    def learn(self, deltas: Deltas, gradient: Sequence[Tensor], eta: float, total: Deltas) -> None:
        """One update, from eta times the loss's gradient; that of the L1 norm is known."""
        share = self.penalty / len(total)
        roots = [
            (eta * part).add_(share * change.detach().sign())
            for part, change in zip(gradient, total.values(), strict=True)
        ]
        self.optimizer.zero_grad()
        torch.autograd.backward(list(deltas.values()), roots)
        self.optimizer.step()


def descend(learners: Sequence[Learner], *, steps: int) -> Iterator[Step]:
    """Train changes side by side, each until its own stop fires.

    Each learner sees the model with the sum of all changes and moves its own only. A step costs one
    evaluation of each learner's loss and one backward; none after its stop.

    Args:
        learners: Who trains; all change the same sites.
        steps: Steps at most.

    Yields:
        After every step, the balanced sum of the losses and the largest statistic still to come
        down.

    Raises:
        Diverged: If a loss is not finite.
    """
    while live := [learner for learner in learners if not learner.stop.stopped]:
        number = max(learner.stop.steps for learner in live) + 1
        if number > steps:
            return
        deltas = {learner: learner.change.deltas() for learner in learners}
        total = _total(list(deltas.values()))
        losses, gradients = zip(*(learner.look(total) for learner in live), strict=True)
        weights = balance(losses)
        for learner, eta, gradient in zip(live, weights, gradients, strict=True):
            if not learner.stop.stopped:
                learner.learn(deltas[learner], gradient, eta, total)
        loss, momentum = sum(map(mul, weights, losses)), max(m.stop.momentum for m in learners)
        yield Step(number, loss, momentum, all(learner.stop.stopped for learner in learners))


def balance(losses: Sequence[float]) -> list[float]:
    """Weights that make the losses of several concepts count alike (SRS-ME, eq. 34-36).

    ``eta_i = |max_k L_k| / |L_i|``, as plain numbers: no gradient flows through them. They are
    kept between 1/10 and 10. A loss that passes zero would otherwise send its own weight to
    infinity, or all others' to zero; and Adam remembers squares, so that one huge gradient makes
    the steps tiny for hundreds of steps.

    Args:
        losses: ``L_i``, at least one.

    Returns:
        ``eta_i``, in the same order; 1 for the largest.

    Example:
        >>> balance([4.0, 2.0, -1.0, 0.0])
        [1.0, 2.0, 4.0, 10.0]
    """
    top = max(losses)
    return [1.0 if loss == top else _clamped(abs(top), abs(loss)) for loss in losses]


def _clamped(top: float, size: float) -> float:
    if top >= MOST_BALANCE * size:
        return MOST_BALANCE
    return max(top / size, 1 / MOST_BALANCE)


def _total(deltas: Sequence[Deltas]) -> dict[str, Tensor]:
    """The summed changes of every site, cut off from the parameters."""
    detached = [{site: change.detach() for site, change in part.items()} for part in deltas]
    first, *rest = detached
    return {
        site: sum((part[site] for part in rest), change).requires_grad_()
        for site, change in first.items()
    }
