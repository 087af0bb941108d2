"""What benchmarks share."""

from pathlib import Path

import pytest

from sepme import bench
from sepme.bench.benchmark import Benchmark, in_batches, taught
from sepme.bench.report import COLUMNS
from sepme.errors import SpecError
from sepme.metrics import wilson

WRONG = [
    ("ladder", {"domain": "styles"}, "ladder has no option 'domain'"),
    ("ladder", {"least": 0}, "at least 1"),
    ("ladder", {"fits": 0}, "at least 1"),
    ("ladder", {"concepts": ("van-gog",)}, "Did you mean 'van-gogh'"),
    ("ladder", {"concepts": ("snail",)}, "no wordings of 'snail'"),
    ("algebra", {"concepts": ("cat",)}, "2 to 5"),
    ("algebra", {"concepts": ("cat", "cat")}, "Name each once"),
    ("algebra", {"scenes": (1,)}, "algebra has no option 'scenes'"),
    ("efficiency", {"pairs": 0}, "at least 1"),
    ("efficiency", {"concepts": ()}, "distinct concepts"),
    ("efficiency", {"steps": 0}, "steps must be at least 1"),
]


@pytest.mark.parametrize(("name", "options", "said"), WRONG)
def test_wrong_options(tmp_path: Path, tiny_model, name: str, options, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        bench.run(name, model=tiny_model, cache=tmp_path, **options)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", bench.BENCHMARKS)
def test_defaults_are_valid(name: str) -> None:
    kind = bench.BENCHMARKS[name]
    assert kind.name == name
    assert issubclass(kind, Benchmark)
    assert kind().headline


def test_rows_have_every_column() -> None:
    spec = bench.specify("ladder", seed=3)
    row = spec.rate("accuracy", [True, False], concepts="cat", split="literal", rung="name")
    assert tuple(row) == (*COLUMNS, "rung")
    assert (row["value"], row["n"], row["seeds"]) == (0.5, 2, [3])
    assert (row["lo"], row["hi"]) == wilson(1, 2)
    middle = spec.median("seconds", [3.0, 1.0, 2.0], concepts="cat", split="none", seeds=[1, 2])
    assert (middle["value"], middle["lo"], middle["seeds"]) == (2.0, None, [1, 2])


def test_intervals_of_several_fits_never_collapse() -> None:
    spec, at = bench.specify("ladder"), {"concepts": "cat", "split": "literal"}
    agree = spec.rate_of_fits("accuracy", {fit: [True] * 8 for fit in range(3)}, **at)
    assert (agree["lo"], agree["hi"]) == wilson(24, 24)
    differ = {0: [True] * 8, 1: [False] * 8, 2: [True] * 8}
    row = spec.rate_of_fits("accuracy", differ, **at)
    low, high = wilson(16, 24)
    assert row["lo"] < low  # images of a fit are alike
    assert row["hi"] > high
    assert (row["wilson_lo"], row["wilson_hi"]) == (low, high)


def test_whole_batches() -> None:
    assert [in_batches(n) for n in (1, 2, 3)] == [2, 2, 4]  # two a batch here


def test_only_styles_and_objects_can_be_named() -> None:
    with pytest.raises(SpecError, match="zorvex"):
        taught(["zorvex"])
