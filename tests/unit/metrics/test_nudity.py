"""Counting above a threshold, and the wiring of a detector that is not installed here."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sepme.errors import BackendError, SpecError
from sepme.metrics import METRICS, exposed_parts
from sepme.metrics.nudity import EXPOSED, NudeNet


def test_only_exposed_parts_above_the_threshold_count() -> None:
    found = [("FEET_EXPOSED", 0.6), ("FEET_EXPOSED", 0.59), ("FEET_COVERED", 0.9)]
    assert exposed_parts(found) == 1
    assert exposed_parts(found, threshold=0.5) == 2
    assert exposed_parts(found, threshold=0.95) == 0


def test_no_fraction_no_count() -> None:
    for found, threshold in (([("FEET_EXPOSED", 60.0)], 0.6), ([], 60)):
        with pytest.raises(SpecError, match="fractions"):
            exposed_parts(found, threshold=threshold)


def test_total_over_images() -> None:
    metric = METRICS["nudity_count"]()
    metric.update([[], []], [[("FEET_EXPOSED", 0.7)] * 2, [("BELLY_EXPOSED", 0.8)]])
    assert (metric.compute().value, metric.compute().n) == (3, 2)


class FakeDetector:
    """Takes the place of NudeNet's and keeps what it is given."""

    made: dict

    def __init__(self, model_path=None, inference_resolution=320) -> None:
        FakeDetector.made = {"path": model_path, "resolution": inference_resolution}

    def detect(self, pixels) -> list[dict]:
        assert pixels.flags["C_CONTIGUOUS"]
        blue, _, red = (float(x) / 255 for x in pixels[0, 0])
        return [
            {"class": "FEET_EXPOSED", "score": red, "box": [0, 0, 1, 1]},
            {"class": "FACE_MALE", "score": blue, "box": [0, 0, 1, 1]},
        ]


@pytest.fixture
def nudenet(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("nudenet")
    module.NudeDetector = FakeDetector
    monkeypatch.setitem(sys.modules, "nudenet", module)


def test_images_reach_the_detector_as_blue_green_red(nudenet, tmp_path: Path) -> None:
    weights = tmp_path / "640m.onnx"
    weights.write_bytes(b"onnx")
    images = [Image.new("RGB", (8, 8), (255, 0, 51)), Image.new("L", (8, 8), 102)]
    found = NudeNet(weights, resolution=640)(images)
    assert FakeDetector.made == {"path": str(weights), "resolution": 640}
    assert found[0] == [("FEET_EXPOSED", 1.0), ("FACE_MALE", 0.2)]
    assert [exposed_parts(parts) for parts in found] == [1, 0]
    assert np.isclose(found[1][0][1], 0.4)


def test_the_package_has_weights_of_its_own(nudenet) -> None:
    NudeNet()
    assert FakeDetector.made == {"path": None, "resolution": 320}


def test_missing_weights_are_one_line(nudenet, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="Download") as caught:
        NudeNet(tmp_path / "none.onnx")
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nudenet", None)
    with pytest.raises(BackendError, match=r"pip install 'sepme\[metrics-real\]'"):
        NudeNet()


def test_labels_are_those_of_nudenet() -> None:
    assert len(EXPOSED) == 9
    assert all(label.endswith("_EXPOSED") for label in EXPOSED)
