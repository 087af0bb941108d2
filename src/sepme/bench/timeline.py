"""The paper's four scenes: who is erased and given back, step by step (SRS-ME, section 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Role = Literal["forgotten", "restored", "regular"]
ROLES: tuple[Role, ...] = ("forgotten", "restored", "regular")
CONCEPTS = 9
"""Concepts of a scene, c0 to c8."""


@dataclass(frozen=True, slots=True)
class Step:
    """What happens at one time; concepts are numbered as in the paper.

    Attributes:
        erase: Concepts to erase.
        restore: Concepts to give back.
    """

    erase: tuple[int, ...] = ()
    restore: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """Where a scene stands after a step.

    Attributes:
        scene: The scene, 1 to 4.
        time: The step, from 0.
        step: What has just happened.
        forgotten: Concepts that are erased.
        restored: Concepts that were erased once and are given back.
    """

    scene: int
    time: int
    step: Step
    forgotten: tuple[int, ...]
    restored: tuple[int, ...]

    @property
    def regular(self) -> tuple[int, ...]:
        """Concepts that nobody has named yet."""
        return tuple(i for i in range(CONCEPTS) if i not in self.forgotten + self.restored)

    def of(self, role: Role) -> tuple[int, ...]:
        """The concepts in a role."""
        return {
            "forgotten": self.forgotten,
            "restored": self.restored,
            "regular": self.regular,
        }[role]


SCENES: dict[int, tuple[Step, ...]] = {
    1: (Step(erase=(0, 1, 2, 3, 4, 5)), Step(restore=(0, 1)), Step(restore=(2,))),
    2: (Step(erase=(0, 1, 2, 3, 4, 5)), Step(restore=(3, 4)), Step(restore=(5,))),
    3: (
        Step(erase=(0, 2, 4)),
        Step(restore=(0, 2)),
        Step(erase=(1, 3)),
        Step(restore=(1,)),
        Step(erase=(5,)),
    ),
    4: (
        Step(erase=(0, 1, 2)),
        Step(restore=(0,)),
        Step(erase=(3, 4)),
        Step(restore=(1,)),
        Step(erase=(5,)),
        Step(restore=(2,)),
    ),
}
"""Scene to its steps."""


def captions() -> dict[int, list[str]]:
    """What happens at each time of each scene, in words.

    Returns:
        Scene to one phrase a step.

    Example:
        >>> captions()[1]
        ['erase c0 c1 c2 c3 c4 c5', 'restore c0 c1', 'restore c2']
    """
    return {scene: [_caption(step) for step in steps] for scene, steps in SCENES.items()}


def _caption(step: Step) -> str:
    acts = (("erase", step.erase), ("restore", step.restore))
    return ", ".join(
        " ".join([verb, *(f"c{i}" for i in concepts)]) for verb, concepts in acts if concepts
    )


def states(scene: int) -> Iterator[State]:
    """The states a scene goes through.

    Args:
        scene: 1 to 4.

    Yields:
        One state a step.

    Example:
        >>> [state.forgotten for state in states(1)]
        [(0, 1, 2, 3, 4, 5), (2, 3, 4, 5), (3, 4, 5)]
    """
    forgotten: set[int] = set()
    restored: set[int] = set()
    for time, step in enumerate(SCENES[scene]):
        forgotten = (forgotten | set(step.erase)) - set(step.restore)
        restored = (restored - set(step.erase)) | set(step.restore)
        yield State(scene, time, step, tuple(sorted(forgotten)), tuple(sorted(restored)))
