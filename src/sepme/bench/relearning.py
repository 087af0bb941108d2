"""How an erased concept comes back while a model is fine-tuned, layer by layer."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sepme.attacks.relearn import Relearn
from sepme.attacks.relearn_benign import RelearnBenign
from sepme.bench.neurons import LAYERS, Moment, blank_outputs, compare, probe, responses
from sepme.core.attack import Trial
from sepme.errors import SpecError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ERASED = 0.9
"""A layer whose recall stays at or above this was not affected by erasure."""


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """The neurons' part in a concept, over time.

    Attributes:
        original: The original model beside itself.
        erased: The erased one, before any training.
        along: Training step and the model after it, in order.
    """

    original: Moment
    erased: Moment
    along: tuple[tuple[int, Moment], ...]

    def returns(self) -> dict[str, int]:
        """When each layer has half of its loss of recall back.

        Layers that erasure left alone, or that never answer to a prompt, are left out, and so
        are those that stay below.

        Returns:
            Layer to the first recorded step, earliest first; among equal steps the layer with
            more recall comes first.
        """
        found: dict[str, tuple[int, float]] = {}
        for name, lost in self.erased.recall.items():
            if math.isnan(lost) or lost >= ERASED:
                continue
            back = [(s, m.recall[name]) for s, m in self.along if m.recall[name] >= (1 + lost) / 2]
            if back:
                found[name] = back[0]
        return {name: found[name][0] for name in sorted(found, key=lambda n: _earliest(*found[n]))}


def _earliest(step: int, recall: float) -> tuple[int, float]:
    return step, -recall


def watch(
    trial: Trial,
    attack: Relearn | RelearnBenign | None = None,
    *,
    steps: int = 100,
    every: int = 5,
    seed: int = 0,
    layers: str = LAYERS,
) -> Course:
    """Fine-tune an erased model and look at its neurons every few steps.

    Args:
        trial: Both models and the concept; its examples and judge are not used.
        attack: How to train, on its largest number of images; None is `Relearn` as it is.
        steps: Training steps.
        every: Steps from one look to the next; the last step is always looked at.
        seed: Seed of everything random.
        layers: Whose channels are the neurons, as in :func:`sepme.bench.neurons.recorded`.

    Returns:
        What was seen.

    Raises:
        SpecError: If ``steps`` or ``every`` is below 1.
    """
    if min(steps, every) < 1:
        raise SpecError(f"steps and every must be at least 1, got {steps} and {every}.")
    attack = attack or Relearn()
    given = probe(trial, seed=seed)
    blank = blank_outputs(trial.original, given, layers)
    first = responses(trial.original, given, blank)
    course = attack.course(trial, max(attack.shots), steps=steps, seed=seed)
    return Course(
        original=compare(first, first),
        erased=compare(responses(trial.subject, given, blank), first),
        along=tuple(
            (step, compare(responses(pupil, given, blank), first))
            for step, pupil in course
            if step % every == 0 or step == steps
        ),
    )


def plot(course: Course, path: str | Path | None = None) -> bytes:
    """Draw recall and saliency mass of each layer over time, and the carriers' similarity.

    Args:
        course: What was seen.
        path: Where to save the picture, if anywhere.

    Returns:
        A PNG file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7), layout="constrained")
    recall, mass, similar = figure.subplots(1, 3, width_ratios=(4, 4, 3))
    moments = [course.erased, *(moment for _, moment in course.along)]
    names = [name for name, value in course.original.mass.items() if value > 0]
    _heat(recall, [m.recall for m in moments], names, course, "recall of the response", 1.2)
    relative = [{n: m.mass[n] / course.original.mass[n] for n in names} for m in moments]
    _heat(mass, relative, names, course, "saliency mass, original = 1", 2)
    recall.set_yticks(range(len(names)), [_short(name) for name in names], fontsize=7)
    mass.set_yticks([])
    steps = [0, *(step for step, _ in course.along)]
    for field in ("cosine", "rank_correlation", "overlap"):
        label = {"overlap": "overlap of the top 1 %"}.get(field, field.replace("_", " "))
        similar.plot(steps, [getattr(moment, field) for moment in moments], label=label)
    similar.set(xlabel="training step", ylim=(0, 1.02))
    similar.set_title("carriers beside the original's", fontsize=10)
    similar.legend(fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    if path is not None:
        Path(path).write_bytes(stream.getvalue())
    return stream.getvalue()


def _heat(
    axes: Axes,
    values: Sequence[Mapping[str, float]],
    names: Sequence[str],
    course: Course,
    title: str,
    top: float,
) -> None:
    table = np.array([[moment[name] for moment in values] for name in names])
    shown: Any = axes.imshow(table, vmin=0, vmax=top, cmap="viridis", aspect="auto")
    axes.figure.colorbar(shown, ax=axes, shrink=0.6)
    steps = [0, *(step for step, _ in course.along)]
    ticks = range(0, len(steps), max(1, len(steps) // 6))
    axes.set_xticks(ticks, [str(steps[tick]) for tick in ticks])
    axes.set_xlabel("training step (0: erased)")
    axes.set_title(title, fontsize=10)


def _short(name: str) -> str:
    return name.replace("transformer_blocks.", "").replace("_blocks", "").replace("_block", "")
