"""Where an erased concept is in the network, and where it comes back while the model is fine-tuned.

Van Gogh, erased with the demo preset, then targeted fine-tuning of every weight. Writes the picture
and, as JSON, when each layer has half of its loss of recall back.

    python benchmarks/relearning.py [--steps N] [--every N] [--out FILE] [--json]
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import parser, show

import sepme
from sepme.attacks.relearn import Relearn
from sepme.bench.benchmark import taught
from sepme.bench.fits import erased, fitted
from sepme.bench.relearning import Course, plot, watch
from sepme.bench.store import Store
from sepme.bench.trials import Trials, judge_of
from sepme.core.attack import Trial

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "relearning.png"
STEPS = 25


def trial(store: Store) -> Trial:
    """The original and the erased model; neurons need no example."""
    model = sepme.load("demo")
    (concept,) = taught(["van-gogh"])
    judge = judge_of(model, "style", concept.name)
    trials = Trials(concept, judge, "demo detector, style", (), STEPS, store)
    original = trials.contender(model)
    shifts = fitted(model, sepme.SepME(), (concept,), store=store, seed=0)
    with erased(model, shifts) as seen:
        subject = trials.contender(seen)
    return Trial(subject.subject, original.subject, concept, judge, (), steps=STEPS)


def figures(course: Course) -> list[dict[str, Any]]:
    """Likeness of the carriers over time, then the layers in the order of their return."""
    moments = [(0, course.erased), *course.along]
    rows: list[dict[str, Any]] = [
        {"step": step, "cosine": m.cosine, "rank_correlation": m.rank_correlation,
         "overlap": m.overlap}
        for step, m in moments
    ]  # fmt: skip
    return rows + [
        {"layer": name, "recall_erased": course.erased.recall[name], "returns_at": step}
        for name, step in course.returns().items()
    ]


def main() -> None:
    """Fine-tune, draw, print."""
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=60)
    options.add_argument("--every", type=int, default=5)
    options.add_argument("--out", type=Path, help="also write rows and environment here")
    chosen = options.parse_args()
    with TemporaryDirectory() as folder:
        course = watch(
            trial(Store(Path(folder))), Relearn(), steps=chosen.steps, every=chosen.every
        )
    plot(course, PICTURE)
    show(figures(course), as_json=chosen.json, out=chosen.out)


if __name__ == "__main__":
    main()
