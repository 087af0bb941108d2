"""Known answers, through a detector that never errs."""

import random

import numpy as np
import pytest
from PIL import Image

import sepme
from sepme.core.metric import Score
from sepme.errors import SpecError
from sepme.metrics import (
    METRICS,
    accuracy,
    none_share,
    picture_labels,
    replaced_share,
    unlearning_accuracy,
    wilson,
)
from tests.unit.metrics.oracle import OBJECTS, STYLES, Model, chunks, detect, prompts

TARGET, KEPT = STYLES[0], STYLES[1:]
UNERASED, PERFECT = Model(), Model(frozenset([TARGET]))


def scores(model: Model, *, targets: int = 24, kept: int = 24, batch: int = 8) -> dict[str, float]:
    """UA, what goes with it, IRA and CRA of a style eraser, image by image, batch by batch."""
    metrics = {
        name: METRICS[name]() for name in ("ua", "replaced_share", "none_share", "ira", "cra")
    }
    for part in chunks(prompts(targets, style=[TARGET]), batch):
        seen = detect(model.draw(part))
        for name in ("ua", "replaced_share", "none_share"):
            metrics[name].update([style for style, _ in part], picture_labels(seen, "style"))
        metrics["cra"].update([thing for _, thing in part], seen["object"])
    for part in chunks(prompts(kept, style=KEPT), batch):
        seen = detect(model.draw(part))["style"]
        metrics["ira"].update([style for style, _ in part], seen)
    return {name: metric.compute().value for name, metric in metrics.items()}


def test_a_perfect_eraser() -> None:
    expected = {"ua": 1, "replaced_share": 1, "none_share": 0, "ira": 1, "cra": 1}
    assert scores(PERFECT) == expected


def test_a_model_from_which_nothing_was_erased() -> None:
    expected = {"ua": 0, "replaced_share": 0, "none_share": 0, "ira": 1, "cra": 1}
    assert scores(UNERASED) == expected


@pytest.mark.parametrize("broken", ["black", "noise"])
def test_a_broken_model_retains_nothing_and_does_not_count_as_an_eraser(broken: str) -> None:
    found = scores(Model(broken=broken))
    assert (found["ira"], found["cra"], found["replaced_share"]) == (0, 0, 0)
    assert found["ua"] == found["none_share"] == 1  # why UA alone would be fooled


def test_black_images_for_the_target_alone_are_no_replacement() -> None:
    found = scores(Model(broken="black", broken_for=frozenset([TARGET])))
    assert (found["ua"], found["ira"]) == (1, 1)
    assert (found["replaced_share"], found["none_share"]) == (0, 1)


@pytest.mark.parametrize("model", [UNERASED, PERFECT, Model(broken="noise")])
@pytest.mark.parametrize(("targets", "kept"), [(10, 10), (32, 32), (100, 100), (20, 100)])
def test_the_split_into_batches_changes_nothing(model: Model, targets: int, kept: int) -> None:
    whole = scores(model, targets=targets, kept=kept, batch=1000)
    for batch in (1, 7, 16, 32):
        assert scores(model, targets=targets, kept=kept, batch=batch) == whole


def test_the_order_of_images_changes_nothing_but_the_pairing_does() -> None:
    pairs = [(s, s) for s in STYLES * 5] + [(STYLES[0], "plain"), (STYLES[1], "none")]
    whole = accuracy(*zip(*pairs, strict=True))
    random.Random(0).shuffle(pairs)
    assert accuracy(*zip(*pairs, strict=True)) == whole
    expected, seen = zip(*pairs, strict=True)
    assert accuracy(expected, sorted(seen)) != whole


def test_a_picture_without_the_erased_object_counts_though_its_head_says_none() -> None:
    wanted = prompts(12, thing=OBJECTS[:1])
    seen = detect(Model(frozenset(OBJECTS[:1])).draw(wanted))
    expected = [thing for _, thing in wanted]
    assert set(seen["object"]) == {"none"}
    assert replaced_share(expected, picture_labels(seen, "object")).value == 1
    assert replaced_share(expected, seen["object"]).value == 0  # one head alone cannot tell
    black = detect(Model(broken="black").draw(wanted))
    assert replaced_share(expected, picture_labels(black, "object")).value == 0


def test_ua_is_replaced_plus_none() -> None:
    expected, seen = ["cat"] * 6, ["cat", "dog", "none", "absent", "none", "cat"]
    parts = replaced_share(expected, seen).value + none_share(expected, seen).value
    assert unlearning_accuracy(expected, seen).value == pytest.approx(parts) == 4 / 6
    assert accuracy(expected, seen).value == pytest.approx(1 - parts)


def test_every_rate_has_its_count_and_wilsons_interval() -> None:
    expected, seen = ["cat"] * 5, ["cat", "dog", "none", "none", "cat"]
    assert accuracy(expected, seen) == Score(2 / 5, 5, wilson(2, 5))
    assert unlearning_accuracy(expected, seen) == Score(3 / 5, 5, wilson(3, 5))
    assert replaced_share(expected, seen) == Score(1 / 5, 5, wilson(1, 5))
    assert none_share(expected, seen) == Score(2 / 5, 5, wilson(2, 5))


@pytest.mark.parametrize(
    "rate", [accuracy, unlearning_accuracy, replaced_share, none_share], ids=lambda f: f.__name__
)
def test_what_is_no_rate_is_refused(rate) -> None:
    for expected, seen, said in (
        ([], [], "got none"),
        (["cat"], [], "not a miss"),
        (["none"], ["none"], "asked for"),
        ("cat", "dog", "list"),
    ):
        with pytest.raises(SpecError, match=said):
            rate(expected, seen)


def test_picture_labels_refuse_what_does_not_fit() -> None:
    with pytest.raises(SpecError, match="Did you mean 'style'"):
        picture_labels({"style": []}, "styl")
    with pytest.raises(SpecError, match="per image"):
        picture_labels({"style": ["ink"], "object": []}, "style")


def test_the_demo_detector_sees_no_picture_in_black_and_in_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    images = [*map(Image.fromarray, noise), Image.new("RGB", (64, 64))]
    seen = sepme.demo.detector()(images)
    for head, target in (("style", "van-gogh"), ("object", "cat")):
        labels = picture_labels(seen, head)
        assert replaced_share([target] * 5, labels).value == 0
        assert accuracy([target] * 5, labels).value == 0
