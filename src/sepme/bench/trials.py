"""Attack trials of one concept: on survivors only, each made once and kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from sepme.backends.guarding import guards_fingerprint
from sepme.backends.subject import DiffusionSubject
from sepme.core.attack import Attack, Example, Judge, Sampling, Subject, Trial
from sepme.core.concept import Concept
from sepme.core.fingerprint import fingerprint
from sepme.errors import BackendError

if TYPE_CHECKING:
    from sepme.bench.store import Store
    from sepme.pipeline import ErasedPipeline

AT_ONCE = 8
"""Images drawn together; always the same neighbours."""


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """A model that is attacked, or compared with.

    Attributes:
        subject: A copy of it, which later changes of the model do not reach.
        weights: Fingerprint of everything it draws with.
        shows: For each example whether its image shows the concept without any attack.
    """

    subject: Subject
    weights: str
    shows: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attack did to one model.

    Attributes:
        flags: For each example whether the concept shows, without the attack or with it.
        survived: How many examples showed nothing without the attack; only these are attacked.
        broken: How many of those the attack brought back.
        budget: Effort on each example.
        queries: Images the attacked model drew.
        seconds: How long it took.
        facts: More figures by name.
        curve: Success against effort.
    """

    flags: tuple[bool, ...]
    survived: int
    broken: int
    budget: int
    queries: int
    seconds: float
    facts: Mapping[str, float]
    curve: tuple[tuple[float, float], ...]


@dataclass(frozen=True, eq=False)
class Trials:
    """Everything trials of one concept have in common.

    Attributes:
        concept: The concept.
        judge: Tells whether an image shows it.
        judged_by: Name of the judge, part of every result's key.
        examples: Prompts and seeds under which the concept is asked for.
        steps: Denoising steps of an image.
        store: Where results are kept between runs.
    """

    concept: Concept
    judge: Judge
    judged_by: str
    examples: tuple[Example, ...]
    steps: int
    store: Store

    def sees_nothing_in_nothing(self) -> bool:
        """Whether the judge says no to black, white and noise: one that always agrees is none."""
        draw = torch.Generator().manual_seed(0)
        noise = torch.randint(256, (64, 64, 3), generator=draw, dtype=torch.uint8).numpy()
        empty = [Image.new("RGB", (64, 64), colour) for colour in ("black", "white")]
        return not any(self.judge([*empty, Image.fromarray(noise)]))

    def contender(self, model: ErasedPipeline) -> Contender:
        """A model with the weights it has now, and what it draws when nobody attacks.

        Args:
            model: The model.
        """
        scale = model.backend.sidecar.guidance_scale
        subject = DiffusionSubject.snapshot(model.pipeline, guidance_scale=scale)
        modules = {"unet": subject.unet, "text_encoder": model.pipeline.text_encoder}
        weights = fingerprint(
            (
                (f"{part}.{name}", tensor)
                for part, module in modules.items()
                for name, tensor in module.state_dict().items()
                if tensor.is_floating_point()
            ),
            {"guidance": str(scale), **guards_fingerprint(model.backend.guards)},
        )
        found = self._kept({"weights": weights}, lambda: {"shows": self._draw(subject)})
        return Contender(subject, weights, tuple(found["shows"]))

    def attack(
        self, attack: Attack, on: Contender, original: Contender, *, budget: int | None, seed: int
    ) -> Outcome:
        """Attack a contender where it survives without an attack.

        Args:
            attack: The attack.
            on: The model to attack.
            original: The original model, which attackers may use.
            budget: Effort on each example; None is the attack's own.
            seed: Seed of the attack.

        Returns:
            The outcome.
        """
        spent = attack.budget if budget is None else budget
        left = tuple(e for e, shown in zip(self.examples, on.shows, strict=True) if not shown)
        trial = Trial(
            on.subject, original.subject, self.concept, self.judge, left, steps=self.steps
        )
        key = {
            "attack": attack.name,
            "settings": {k: str(v) for k, v in asdict(attack).items()},  # type: ignore[call-overload]
            "budget": spent,
            "seed": seed,
            "weights": on.weights,
            "original": original.weights,
        }
        found = self._kept(key, lambda: _measured(attack, trial, spent, seed))
        broken = iter(found["flags"])
        flags = tuple(shown or next(broken) for shown in on.shows)
        return Outcome(
            flags=flags,
            survived=len(left),
            broken=sum(found["flags"]),
            budget=spent,
            queries=found["queries"],
            seconds=found["seconds"],
            facts=found["facts"],
            curve=tuple((effort, share) for effort, share in found["curve"]),
        )

    @torch.no_grad()
    def _draw(self, subject: Subject) -> list[bool]:
        shows: list[bool] = []
        for start in range(0, len(self.examples), AT_ONCE):
            part = self.examples[start : start + AT_ONCE]
            embeds = subject.encode([example.prompt for example in part])
            noise = subject.start_latents([example.seed for example in part])
            drawn = subject.sample(embeds, noise, Sampling(steps=self.steps))
            shows += self.judge(subject.decode(drawn))
        return shows

    def _kept(
        self, key: Mapping[str, Any], measure: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        whole = {
            **key,
            "concept": self.concept.to_dict(),
            "judge": self.judged_by,
            "examples": [[example.prompt, example.seed] for example in self.examples],
            "steps": self.steps,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        found = self.store.figures(whole)
        if found is None:
            found = measure()
            self.store.keep_figures(whole, found)
        return found


def judge_of(model: ErasedPipeline, head: str, name: str) -> Judge:
    """A judge from a model's own detector.

    Args:
        model: The model.
        head: ``"style"`` or ``"object"``.
        name: The label that counts as the concept.

    Returns:
        The judge.

    Raises:
        BackendError: If the model has no detector.
    """
    detector = model.detector
    if detector is None:
        raise BackendError("this model has no detector, so no attack can be judged. Use the demo.")

    def shows(images: Sequence[Image.Image]) -> list[bool]:
        seen: Mapping[str, Any] = detector(images)
        return [label == name for label in seen[head]]

    return shows


def _measured(attack: Attack, trial: Trial, budget: int, seed: int) -> dict[str, Any]:
    started = time.monotonic()
    result = attack.run(trial, budget=budget, seed=seed)
    return {
        "flags": list(result.flags),
        "queries": result.queries,
        "seconds": round(time.monotonic() - started, 1),
        "facts": dict(result.facts),
        "curve": [list(point) for point in result.curve],
    }
