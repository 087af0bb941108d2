"""What erasure costs: bytes, seconds, memory and time at inference."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from sepme.bench.benchmark import Benchmark, Columns, Findings, taught
from sepme.bench.fits import erased
from sepme.bench.memory import peak_memory_mb
from sepme.bench.store import Store
from sepme.core.concept import Concept
from sepme.core.shift import ConceptShift
from sepme.pipeline import ErasedPipeline
from sepme.verify.cases import seeds_from
from sepme.verify.evidence import Row

_WARM_UP = 1


@dataclass(frozen=True, kw_only=True)
class Efficiency(Benchmark):
    """Times each concept's fit and restoration, and images of the original and the erased model.

    The column ``stage`` is ``fit``, ``restore`` or ``inference``. Nothing is taken from the store:
    what was fitted before is fitted again. Images of the erased and the original model are drawn in
    turns, so that a busy machine slows both alike; ``overhead`` is the median of the pairs' ratios.
    ``peak_memory_mb`` is the largest resident set of the whole process so far, loading included;
    it is left out on systems that do not tell. Times hold for this machine only.

    Args:
        concepts: What to fit, one at a time; all of them are erased at inference.
        fits: Fits per concept.
        pairs: Timed restorations, and timed pairs of images.

    Raises:
        SpecError: If a value is out of range.
    """

    name: ClassVar[str] = "efficiency"
    headline: ClassVar[frozenset[str]] = frozenset(
        {"bytes", "seconds", "peak_memory_mb", "overhead"}
    )
    concepts: tuple[str, ...] = ("van-gogh", "hokusai", "cat")
    fits: int = 1
    pairs: int = 12

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        self._at_least_one("fits", "pairs")
        taught(self.concepts)

    def run(self, model: ErasedPipeline, store: Store, *, progress: bool = True) -> Findings:
        """Time everything.

        Args:
            model: A model with nothing erased.
            store: Not used: a stored result has no time.
            progress: Not used: a progress bar takes time.

        Returns:
            The rows.
        """
        rows, shifts = [], []
        for concept in taught(self.concepts):
            shift, fits = self._fit(model, concept)
            shifts.append(shift)
            rows += [*fits, self._restore(model, shift)]
        if (peak := peak_memory_mb()) is not None:
            rows.append(
                self.row("peak_memory_mb", peak, 1, concepts="all", split="none", stage="fit")
            )
        return Findings((*rows, *self._inference(model, shifts)))

    def _fit(self, model: ErasedPipeline, concept: Concept) -> tuple[ConceptShift, list[Row]]:
        columns: Columns = {"concepts": concept.name, "split": "none", "stage": "fit"}
        method, times = self.new_method(), []
        for turn in range(self.fits):
            start = time.perf_counter()
            (shift,) = method.fit_many(model, [concept], seed=self.seed + turn)
            times.append(time.perf_counter() - start)
        seconds = self.median("seconds", times, **columns)
        return shift, [self.row("bytes", shift.nbytes, 1, **columns), seconds]

    def _restore(self, model: ErasedPipeline, shift: ConceptShift) -> Row:
        times = []
        for _ in range(self.pairs):
            with erased(model, [shift]) as seen:
                times.append(seconds_of(lambda: seen.restore(*seen.erased)))
        return self.median("seconds", times, concepts=shift.name, split="none", stage="restore")

    def _inference(self, model: ErasedPipeline, shifts: list[ConceptShift]) -> Iterator[Row]:
        prompts = [shift.concepts[0].prompts[0] for shift in shifts]
        first, ours, theirs = seeds_from(self.seed), [], []
        with erased(model, shifts) as seen:
            for turn in range(_WARM_UP + self.pairs):
                prompt, seed = prompts[turn % len(prompts)], first + turn

                def draw(prompt: str = prompt, seed: int = seed) -> object:
                    return seen.generate([prompt], seeds=[seed], steps=self.steps)

                ours.append(seconds_of(draw))
                with seen.backend.pristine():
                    theirs.append(seconds_of(draw))
        columns: Columns = {"split": "literal", "stage": "inference"}
        yield self.median("seconds", theirs[_WARM_UP:], concepts="original", **columns)
        yield self.median("seconds", ours[_WARM_UP:], concepts="erased", **columns)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)][_WARM_UP:]
        yield self.median("overhead", ratios, concepts="erased", **columns)


def seconds_of(call: Callable[[], object]) -> float:
    """Wall time of one call, in seconds.

    Args:
        call: What to time.
    """
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
