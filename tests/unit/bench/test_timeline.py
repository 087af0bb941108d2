"""The scenes as the paper tabulates them."""

import pytest

from sepme.bench.timeline import CONCEPTS, ROLES, SCENES, states

ENDS = {1: ((3, 4, 5), (0, 1, 2)), 2: ((0, 1, 2), (3, 4, 5)), 3: ((3, 4, 5), (0, 1, 2))}


@pytest.mark.parametrize("scene", SCENES)
def test_every_concept_has_one_role(scene: int) -> None:
    for state in states(scene):
        assert sorted(i for role in ROLES for i in state.of(role)) == list(range(CONCEPTS))
        assert set(state.step.erase) <= set(state.forgotten)
        assert set(state.step.restore) <= set(state.restored)


@pytest.mark.parametrize(("scene", "forgotten", "restored"), [(k, *v) for k, v in ENDS.items()])
def test_ends(scene: int, forgotten: tuple[int, ...], restored: tuple[int, ...]) -> None:
    last = list(states(scene))[-1]
    assert (last.forgotten, last.restored) == (forgotten, restored)


def test_scene_4_step_by_step() -> None:
    assert [(state.forgotten, state.restored) for state in states(4)] == [
        ((0, 1, 2), ()),
        ((1, 2), (0,)),
        ((1, 2, 3, 4), (0,)),
        ((2, 3, 4), (0, 1)),
        ((2, 3, 4, 5), (0, 1)),
        ((3, 4, 5), (0, 1, 2)),
    ]
