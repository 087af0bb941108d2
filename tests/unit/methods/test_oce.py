"""OCE: rotations that keep lengths and angles, and guides of which repeats do not count."""

import pytest
import torch
from torch import Tensor

import sepme
from sepme.core.concept import BLANK, Concept
from sepme.errors import SpecError
from sepme.linalg.rotation import nearest_rotation
from sepme.methods._rows import Pairs, chosen_rows, pairs, worded_rows
from sepme.methods.oce import OCE, _Task
from tests.tiny import TINY_CONCEPTS

TARGET, OTHER, THIRD = TINY_CONCEPTS[:3]
METHOD = OCE(erase_scale=300.0, general_scale=2.0, preserve_scale=0.5, lamb=3.0).resolve()


def task_of(model: sepme.ErasedPipeline, *concepts: Concept) -> _Task:
    others = [BLANK, OTHER]
    worded = worded_rows(model, others)
    moment = worded.T @ worded / len(worded)
    return _Task(pairs(model, concepts, "last"), chosen_rows(model, others, "last"), moment)


def values(model: sepme.ErasedPipeline) -> list[Tensor]:
    return [w.double() for site, w in model.sites().items() if site.endswith("to_v")]


def padded_qr(task: _Task, weight: Tensor) -> Tensor:
    """The rotation written out, with bases from a plain QR as in the authors' code."""

    def basis(rows: Tensor) -> Tensor:
        return torch.linalg.qr(torch.nn.functional.normalize(rows @ weight.T, dim=1).T).Q

    here, there = basis(task.moved.targets), basis(task.moved.anchors)
    eye = torch.eye(len(weight), dtype=torch.float64)
    wanted = -METHOD.erase_scale * here @ here.T @ (eye - there @ there.T)
    for row in task.retained:
        wanted = wanted + METHOD.preserve_scale * torch.outer(weight @ row, weight @ row)
    wanted = wanted + METHOD.general_scale * weight @ task.moment @ weight.T
    wanted = wanted + METHOD.lamb * weight @ weight.T
    return nearest_rotation(wanted)


def test_agrees_with_the_form_written_out(tiny_model: sepme.ErasedPipeline) -> None:
    task = task_of(tiny_model, TARGET)
    for weight in values(tiny_model):
        turn = METHOD._rotation(task, weight)
        assert (turn - padded_qr(task, weight)).abs().max() < 1e-10
        assert (turn - torch.eye(len(turn))).abs().max() > 1e-2  # inverse check


def test_lengths_and_angles_stay_and_the_transpose_undoes_it(
    tiny_model: sepme.ErasedPipeline,
) -> None:
    task = task_of(tiny_model, TARGET, THIRD)
    for weight in values(tiny_model):
        turn = METHOD._rotation(task, weight)
        eye = torch.eye(len(turn), dtype=torch.float64)
        assert (turn.T @ turn - eye).abs().max() < 1e-10
        assert turn.det() == pytest.approx(1, abs=1e-10)
        edited = turn @ weight
        assert (edited.T @ edited - weight.T @ weight).abs().max() < 1e-10
        assert (turn.T @ edited - weight).abs().max() < 1e-10
        assert (edited - weight).abs().max() > 1e-2  # inverse check


def test_the_shift_is_the_rotation_of_each_site(tiny_model: sepme.ErasedPipeline) -> None:
    shift = METHOD.fit(tiny_model, TARGET, retain=[OTHER])
    assert len(shift.payload.sites) == 4
    for site in shift.payload.sites:
        weight = tiny_model.sites()[site].double()
        edited = weight + shift.payload.delta(site, weight)
        assert torch.allclose(edited.T @ edited, weight.T @ weight, atol=1e-5)
        assert not torch.allclose(edited, weight, atol=1e-2)  # inverse check


def test_repeats_of_a_guide_change_nothing(tiny_model: sepme.ErasedPipeline) -> None:
    """The authors' code pads guides with copies, which a plain QR makes random directions of."""
    task = task_of(tiny_model, TARGET, THIRD)
    assert torch.equal(task.moved.anchors[0], task.moved.anchors[1])  # one guide for two concepts
    once = task._replace(moved=Pairs(task.moved.targets, task.moved.anchors[:1]))
    gaps = []
    for weight in values(tiny_model):
        turn = METHOD._rotation(task, weight)
        assert (turn - METHOD._rotation(once, weight)).abs().max() < 1e-10
        gaps.append(float((padded_qr(task, weight) - padded_qr(once, weight)).abs().max()))
    assert max(gaps) > 1e-3  # inverse check


def test_values_are_turned_away_and_the_scale_decides_how_far(
    tiny_model: sepme.ErasedPipeline,
) -> None:
    fits = [
        OCE(erase_scale=s).fit(tiny_model, TARGET, retain=[OTHER]).provenance.fit
        for s in (1e-6, 1.0, 1e4)
    ]
    assert fits[0]["cosine"] > 0.999  # inverse check
    assert fits[2]["cosine"] < 0.5 < fits[0]["cosine"]
    assert fits[2]["moved"] > fits[0]["moved"]
    kept = OCE(erase_scale=1e4, preserve_scale=1e6).fit(tiny_model, TARGET, retain=[OTHER])
    assert kept.provenance.fit["moved"] < fits[2]["moved"] / 5


@pytest.mark.parametrize(
    ("key", "bad"),
    [("erase_scale", 0), ("general_scale", -1), ("lamb", 0), ("rtol", 2), ("rows", "first")],
)
def test_values_out_of_range(key: str, bad: object) -> None:
    with pytest.raises(SpecError, match=f"^{key} must be .*got"):
        OCE(**{key: bad})


def test_joint_solving(tiny_model: sepme.ErasedPipeline) -> None:
    (joint,) = OCE().fit_many(tiny_model, [OTHER, TARGET], retain=[THIRD])
    assert OCE().fit_many(tiny_model, [TARGET, OTHER], retain=[THIRD]) == (joint,)
    assert joint.name == f"{TARGET.name}+{OTHER.name}"
    tiny_model.erase(joint)
    tiny_model.restore(TARGET.name, OTHER.name)
    live = tiny_model.backend.live()
    assert all(torch.equal(live[site], weight) for site, weight in tiny_model.sites().items())
