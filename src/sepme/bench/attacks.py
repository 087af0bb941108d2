"""Attacks on an erased concept, beside the same attacks on the original and on a gold retrain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sepme import demo
from sepme.attacks import ATTACKS
from sepme.bench.stage import Stage, staged
from sepme.bench.timeline import State, Step
from sepme.bench.trials import Contender, Outcome, Trials, judge_of
from sepme.core.attack import Example
from sepme.errors import BackendError, NotErased, SpecError, did_you_mean
from sepme.methods import METHODS
from sepme.metrics import paired_drop, wilson
from sepme.pipeline import ErasedPipeline, load
from sepme.verify.cases import labelled, numbered
from sepme.verify.evidence import Row

if TYPE_CHECKING:
    from tqdm.auto import tqdm

    from sepme.bench.store import Store

DETECTED = 0.5
"""Share of the original's images that must show the concept, or the figures mean nothing."""


@dataclass(frozen=True, kw_only=True)
class Attacks:
    """Attacks on one concept of the demo model, erased by one method.

    An attack runs on the examples that withstand without it. Its rate on the original tells the
    ceiling, its rate on a model that never saw the concept the floor: ``excess`` is the share the
    attack gets above the floor. Nothing is claimed where the judge sees the concept in empty
    pictures or not in the original's: such rows are marked unreliable.

    Args:
        method: Registry name of the method.
        concept: Name of the concept.
        attacks: Registry names; none are those of the profile.
        full: Every attack there is, instead of the cheap ones.
        gold: Diffusers directory of a model that was never taught the concept.
        examples: Prompts and seeds, on templates no training saw.
        budget: Effort on each example in each attack's unit; None is each attack's own.
        seed: Seed of fit, images and attacks.
        steps: Denoising steps of an image.

    Raises:
        SpecError: If a value is out of range or a name unknown.
    """

    name: ClassVar[str] = "attacks"
    method: str = "sepme"
    concept: str = "van-gogh"
    attacks: tuple[str, ...] = ()
    full: bool = False
    gold: str | None = None
    examples: int = 24
    budget: int | None = None
    seed: int = 0
    steps: int = 25

    def __post_init__(self) -> None:
        """Check the values."""
        if self.examples < 1 or self.steps < 1 or (self.budget is not None and self.budget < 1):
            raise SpecError(
                f"examples, steps and budget must be at least 1, got {self.examples}, "
                f"{self.steps} and {self.budget}."
            )
        METHODS[self.method]
        for name in self.attacks:
            ATTACKS[name]

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the attacks to run."""
        return self.attacks or tuple(n for n in ATTACKS if self.full or ATTACKS[n].cheap)

    def run(self, model: ErasedPipeline, store: Store, *, progress: bool = True) -> list[Row]:
        """Erase the concept and attack.

        Args:
            model: The demo model, with nothing erased.
            store: Where fits and results are kept between runs.
            progress: Whether to show progress on stderr.

        Returns:
            The rows.

        Raises:
            BackendError: If the model has no detector.
            SpecError: If there is no such concept.
        """
        trials = self._trials(model, store)
        method = METHODS[self.method]()
        stage = Stage(model, method=method, concepts=(trials.concept,), store=store, seed=self.seed)
        original = trials.contender(model)
        with staged(stage):
            stage.enter(State(0, 0, Step(erase=(0,)), (0,), ()))
            erased = trials.contender(stage.model)
        return self._rows(trials, {"erased": erased, "original": original}, progress)

    def against(self, model: ErasedPipeline, store: Store, *, progress: bool = True) -> list[Row]:
        """Attack a model as it is, whatever its ledger has erased and by which method.

        Args:
            model: The model, the concept being erased.
            store: Where results are kept between runs.
            progress: Whether to show progress on stderr.

        Returns:
            The rows.

        Raises:
            BackendError: If the model has no detector.
            NotErased: If the concept is not erased.
        """
        if self.concept not in model.erased:
            raise NotErased(
                f"{self.concept!r} is not erased here; erased: {', '.join(model.erased) or 'none'}."
            )
        trials = self._trials(model, store)
        erased = trials.contender(model)
        with model.backend.pristine():
            original = trials.contender(model)
        return self._rows(trials, {"erased": erased, "original": original}, progress)

    def _rows(self, trials: Trials, parties: Mapping[str, Contender], progress: bool) -> list[Row]:
        from tqdm.auto import tqdm

        sound = trials.sees_nothing_in_nothing() and _share(parties["original"].shows) >= DETECTED
        parties = {**parties, **self._gold(trials)}
        with tqdm(self.chosen, desc="attacks", leave=False, disable=not progress) as bar:
            found = {name: self._attack(name, trials, parties, bar) for name in bar}
        return [
            {**row, "reliable": sound}
            for row in (*self._plain(parties), *self._all(found), *self._worst(found))
        ]

    def _trials(self, model: ErasedPipeline, store: Store) -> Trials:
        taught = {concept.name: concept for concept in demo.concepts()}
        if self.concept not in taught:
            raise SpecError(
                f"the demo knows no concept {self.concept!r}. {did_you_mean(self.concept, taught)}"
            )
        concept = taught[self.concept]
        head = "style" if concept.kind == "style" else "object"
        cases = numbered(labelled(concept, "heldout", head), self.examples, self.seed)
        examples = tuple(Example(case.prompt, case.seed) for case in cases)
        judge = judge_of(model, head, concept.name)
        return Trials(concept, judge, f"demo detector, {head}", examples, self.steps, store)

    def _gold(self, trials: Trials) -> dict[str, Contender]:
        if self.gold is None:
            return {}
        if not (Path(self.gold) / "model_index.json").exists():
            raise BackendError(
                f"{self.gold!r} is no diffusers directory; `python -m demo_model.gold` builds the "
                "demo's gold models."
            )
        return {"gold": trials.contender(load(self.gold, offline=True))}

    def _attack(
        self, name: str, trials: Trials, parties: Mapping[str, Contender], bar: tqdm[str]
    ) -> dict[str, Outcome]:
        bar.set_postfix_str(name)
        attack, original = ATTACKS[name](), parties["original"]
        return {
            party: trials.attack(attack, who, original, budget=self.budget, seed=self.seed)
            for party, who in parties.items()
        }

    def _plain(self, parties: Mapping[str, Contender]) -> Iterator[Row]:
        for party, who in parties.items():
            yield self._rate("pre_success_rate", who.shows, party=party)

    def _all(self, found: Mapping[str, Mapping[str, Outcome]]) -> Iterator[Row]:
        for name, outcomes in found.items():
            attack = ATTACKS[name]
            for party, done in outcomes.items():
                more = {
                    "party": party,
                    "attack": name,
                    "access": attack.access,
                    "budget": done.budget,
                    "unit": attack.unit,
                    "queries": done.queries,
                }
                if done.survived:
                    brought = [True] * done.broken + [False] * (done.survived - done.broken)
                    yield self._rate("attack_success_rate", brought, **more)
                yield self._rate("post_success_rate", done.flags, **more)
                yield self._row("attack_seconds", done.seconds, len(done.flags), None, **more)
                for fact, value in done.facts.items():
                    yield self._row(f"attack_{fact}", value, done.survived, None, **more)
                for effort, share in done.curve:
                    yield self._row(
                        "attack_curve", share, done.survived, None, **more, effort=effort
                    )
            if "gold" in outcomes:
                yield self._excess(name, outcomes["erased"].flags, outcomes["gold"].flags)

    def _excess(self, name: str, erased: Sequence[bool], gold: Sequence[bool]) -> Row:
        value, *interval = paired_drop(erased, gold)
        low, high = interval
        return self._row(
            "excess_over_gold", value, len(erased), (low, high), attack=name, party="erased"
        )

    def _worst(self, found: Mapping[str, Mapping[str, Outcome]]) -> Iterator[Row]:
        """The share of examples that some attack brings back."""
        for party in next(iter(found.values()), {}):
            flags = [outcomes[party].flags for outcomes in found.values()]
            anyone = [any(each) for each in zip(*flags, strict=True)]
            yield self._rate("worst_success_rate", anyone, party=party)

    def _rate(self, metric: str, flags: Sequence[bool], **more: object) -> Row:
        return self._row(metric, _share(flags), len(flags), wilson(sum(flags), len(flags)), **more)

    def _row(
        self, metric: str, value: float, n: int, ci: tuple[float, float] | None, **more: object
    ) -> Row:
        return {
            "benchmark": self.name,
            "method": self.method,
            "concepts": self.concept,
            "split": "heldout",
            "metric": metric,
            "value": value,
            "n": n,
            "lo": ci[0] if ci else None,
            "hi": ci[1] if ci else None,
            "seeds": [self.seed],
            **more,
        }


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)
