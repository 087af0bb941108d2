"""Methods side by side: the same concepts, prompts and seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from sepme.bench.benchmark import Benchmark, Findings, built, registered, taught
from sepme.bench.cells import Part
from sepme.bench.comparison import Compared, headline
from sepme.bench.gallery import Gallery, Shot, card
from sepme.bench.store import Store
from sepme.bench.takes import Crew, Failure, Plan, Take, Task
from sepme.demo.templates import Split
from sepme.errors import SpecError
from sepme.pipeline import ErasedPipeline
from sepme.verify.evidence import Row

if TYPE_CHECKING:
    from PIL.Image import Image

ALL = "all"
"""Stands for every registered method."""
Kind = Literal["one", "joint"]
Outcome = tuple[Task, tuple[Take | Failure, ...]]


@dataclass(frozen=True, kw_only=True)
class Methods(Benchmark):
    """Every method erases each concept alone, and the styles and the objects among them jointly.

    The column ``task`` is ``one`` (a concept alone), ``each`` (the concepts of a domain, one at a
    time, pooled) or ``joint`` (as `Method.fit_many` does). Rows of ``erased`` prompts, on the
    concepts' own prompts and on templates: ``erased_accuracy``, and ``cross_domain_accuracy``, that
    is, whether the object is still drawn under an erased style, or the style on an erased object.
    Rows of prompts that name no erased concept: ``retained_accuracy`` in the role ``same domain``
    and ``other domain``, and drift. ``restore_error`` is the largest pixel difference on a
    restored concept's own prompts, in the stage ``one restored`` (the first of several, the others
    still erased) or ``all restored``. ``seconds``, ``peak_memory_mb``, ``bytes`` (per concept) and,
    where something is trained, ``steps`` are of when the fit was first made. A fit that raises
    gives a row ``fit_failed``.

    Args:
        method: Not used; name ``methods``.
        methods: Registry names, or ``"all"``.
        hyperparameters: Of the method, if there is only one.
        concepts: Styles and objects of the demo; several of a kind are erased jointly too.
        tasks: ``"one"``, ``"joint"`` or both.
        fits: Fits per task, with seeds ``seed``, ``seed + 1`` and so on, that share the images.
            With two or more, intervals are the hull of `cluster_bootstrap` and Wilson's.
        templates: Templates of the demo: ``"heldout"`` to report, ``"train"`` to tune on.
        restores: Whether to restore.
        least: Fewest images of a rate, over all fits; what is drawn with an erased concept rests on
            those of its images that ask for something besides.

    Raises:
        SpecError: If a value is out of range.
    """

    name: ClassVar[str] = "methods"
    headline: ClassVar[frozenset[str]] = headline()
    method: str = ""
    methods: tuple[str, ...] = (ALL,)
    concepts: tuple[str, ...] = ("van-gogh", "hokusai", "fluent", "church", "cat", "guitar")
    tasks: tuple[Kind, ...] = ("one", "joint")
    fits: int = 1
    templates: Split = "heldout"
    restores: bool = True
    least: int = 48

    def __post_init__(self) -> None:
        """Check the values."""
        self._at_least_one("steps", "fits", "least")
        taught(self.concepts)
        if self.method:
            raise SpecError(f"this compares methods: name methods, not method {self.method!r}.")
        if not self.compared or len(set(self.compared)) < len(self.compared):
            raise SpecError(f"distinct methods are needed, got {list(self.methods)}.")
        if self.hyperparameters and len(self.compared) > 1:
            raise SpecError(
                f"hyperparameters are those of one method, got {len(self.compared)} methods."
            )
        for name in self.compared:
            built(name, self.hyperparameters)
        if not self._domains():
            raise SpecError(
                f"tasks {list(self.tasks)} of {list(self.concepts)} are none. Take 'one', or two "
                "concepts of a kind."
            )

    @property
    def compared(self) -> tuple[str, ...]:
        """The methods' registry names."""
        return registered() if ALL in self.methods else self.methods

    def run(self, model: ErasedPipeline, store: Store, *, progress: bool = True) -> Findings:
        """Let every method do every task.

        Args:
            model: The demo model, with nothing erased.
            store: Where images, fits and their costs are kept between runs.
            progress: Whether to show progress on stderr.

        Returns:
            The rows, and pictures beside the original's.
        """
        plan = Plan(self.templates, self.least, self.fits, self.seed, self.steps, self.restores)
        rows: list[Row] = []
        shots: dict[str, dict[str, Shot]] = {}
        with closing(Gallery(model, store, steps=self.steps, progress=progress)) as gallery:
            crew = Crew(model, gallery, store, plan)
            for name in self.compared:
                for tasks in self._domains():
                    outcomes = [self._do(task, name, crew) for task in tasks]
                    rows += self._rows(name, outcomes)
                    _show(shots, name, outcomes)
        return Findings(tuple(rows), _pictures(shots))

    def cells(self) -> tuple[Part, ...]:
        """One a method and task."""
        return tuple(
            Part(
                replace(
                    self,
                    methods=(name,),
                    concepts=tuple(concept.name for concept in task.concepts),
                    tasks=("joint" if len(task.concepts) > 1 else "one",),
                )
            )
            for name in self.compared
            for tasks in self._domains()
            for task in tasks
        )

    def _do(self, task: Task, name: str, crew: Crew) -> Outcome:
        method = built(name, self.hyperparameters)
        return task, tuple(crew.take(task, method, turn) for turn in range(self.fits))

    def _domains(self) -> list[list[Task]]:
        """Tasks of the styles, then of the objects."""
        found = []
        for head in ("style", "object"):
            peers = tuple(c for c in taught(self.concepts) if c.kind == head)
            tasks = [Task(head, (concept,)) for concept in peers] if "one" in self.tasks else []
            if "joint" in self.tasks and len(peers) > 1:
                tasks.append(Task(head, peers))
            if tasks:
                found.append(tasks)
        return found

    def _rows(self, name: str, outcomes: Sequence[Outcome]) -> Iterator[Row]:
        alone = [outcome for outcome in outcomes if len(outcome[0].concepts) == 1]
        for task, takes in alone:
            yield from Compared(self, name, task, "one", takes).rows()
        if len(alone) > 1:
            every = Task(alone[0][0].head, tuple(c for task, _ in alone for c in task.concepts))
            takes = tuple(take for _, takes in alone for take in takes)
            yield from Compared(self, name, every, "each", takes).rows()
        for task, takes in outcomes:
            if len(task.concepts) > 1:
                yield from Compared(self, name, task, "joint", takes).rows()


def _show(shots: dict[str, dict[str, Shot]], name: str, outcomes: Sequence[Outcome]) -> None:
    """Add a method's first image of each task to the original's and the other methods'."""
    for task, takes in outcomes:
        for take in takes[:1]:
            if isinstance(take, Take):
                before, after = take.looks["templates"]
                shots.setdefault(task.name, {"original": before[0]})[name] = after[0]


def _pictures(shots: Mapping[str, Mapping[str, Shot]]) -> dict[str, Mapping[str, Image]]:
    return dict(card(f"{task} erased", shown) for task, shown in shots.items())
